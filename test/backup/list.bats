#!/usr/bin/env bats
# What is in the store, and whether it is fresh, for a role that may not read any of it.
bats_require_minimum_version 1.5.0

load restoring

setup() {
  world
  unset BACKUP_DATABASES
  directory
}

teardown() {
  drop_databases
}

@test "it lists sizes, ages and states, in 80 columns, with the role that may only write" {
  opsbook backup
  mkdir "$APP_DIR/more"
  echo x >"$APP_DIR/more/x"
  BACKUP_DIRECTORIES=uploads,more later 1 opsbook backup --only more
  local id
  id=$(later 2 opsbook backup)
  tamper "backups/$id/manifest.json" remove
  run -0 --separate-stderr later 2.5 opsbook list
  assert_line --index 0 "s3://bloaty-backups-x7/$APP"
  assert_line --regexp '^[0-9-]{15} +2 d 12 h ago +complete +[0-9.]+ (B|kB)$'
  assert_line --regexp '^[0-9-]{15} +36 h 0 min ago +partial +[0-9.]+ (B|kB)$'
  assert_line --regexp '^[0-9-]{15} +12 h 0 min ago +unfinished +[0-9.]+ (B|kB)$'
  assert_line --regexp '^3 backups, [0-9.]+ kB; [0-9]+ files stored once for all, [0-9.]+ kB$'
  assert_equal "$(awk 'length > 80' <<<"$output")" ''
}

@test "--json gives the same to programs, with the disk's free space where there is one" {
  export BACKUP_STORE=file://$BATS_TEST_TMPDIR/store
  mkdir "$BATS_TEST_TMPDIR/store"
  local id
  id=$(opsbook backup)
  run -0 --separate-stderr opsbook list --json
  assert_output --regexp "^\{\"store\":\"file://.*/store/$APP\",\"backups\":\[\{\"id\":\"$id\",\"state\":\"complete\",\"started\":\"[0-9TZ:.-]+\",\"bytes\":[0-9]+\}\],\"contents\":4,\"contentBytes\":[0-9]+,\"free\":[0-9]+\}$"
}

@test "--max-age exits 3 when the newest complete backup is older, or from the future, or there is none" {
  run -3 --separate-stderr opsbook list --max-age 26h
  assert_error 'no complete backup in s3://'
  opsbook backup
  run -0 later 1 opsbook list --max-age 26h
  run -3 --separate-stderr later 1.2 opsbook list --max-age 26h --json
  assert_error 'the newest complete backup, [0-9-]+, is 28 h 48 min old, allowed is 26 h 0 min'
  run -3 --separate-stderr later -3 opsbook list --max-age 26h
  assert_error 'is from the future: a clock is wrong'
  run -2 opsbook list --max-age soon
}
