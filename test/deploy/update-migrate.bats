#!/usr/bin/env bats
# What comes before the switch: a backup, and the migration by the new image. If it fails, nothing is switched.
bats_require_minimum_version 1.5.0

load world

setup_file() {
  app_up nginx
  image 2.0.0
  image 3.0.0
}

teardown_file() { app_down; }

@test "a migration that fails is told, leaves the old version, and is remembered" {
  MIGRATE_COMMAND='echo half of it; echo no such column >&2; exit 3' run -1 --separate-stderr opsbook update-deployment 2.0.0
  [[ $stderr == *"half of it"* ]] || fail "$stderr"
  [[ $stderr == *'the migration "echo half of it'*'exited with 3'* ]] || fail "$stderr"
  assert_runs 1.0.0
  assert_equal "$(records version migrated verified | tail -1)" "2.0.0 true false"
}

@test "a migration that hangs is ended" {
  MIGRATE_TIMEOUT=3 MIGRATE_COMMAND='sleep 300' run -1 --separate-stderr opsbook update-deployment 2.0.0
  [[ $stderr == *"did not end within 3.0 s (MIGRATE_TIMEOUT), and was ended"* ]] || fail "$stderr"
  assert_equal "$(docker ps --all --quiet --filter "name=$APP-migrate")" ""
  assert_runs 1.0.0
}

@test "a backup is taken first, then the new image migrates while the old version runs; both are recorded" {
  export BACKUP_STORE="file://$BATS_FILE_TMPDIR/store" BACKUP_DATABASES='compose://db/shop?user=postgres'
  unset BACKUP_DIRECTORIES
  MIGRATE_COMMAND="echo migrating to \$APP_VERSION" run -0 --separate-stderr opsbook update-deployment 3.0.0 --backup
  [[ $stderr == *"migrating to 3.0.0"* ]] || fail "$stderr"
  assert_runs 3.0.0
  local id
  id=$(records backup | tail -1)
  [ -e "$BATS_FILE_TMPDIR/store/$APP/backups/$id/manifest.json" ]
  assert_equal "$(records version migrated verified | tail -1)" "3.0.0 true true"
}
