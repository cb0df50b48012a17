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
  assert_line --regexp '^[0-9-]{15} +2 d 12 h ago +complete +[0-9.]+ (B|kB)  uploads$'
  assert_line --regexp '^[0-9-]{15} +36 h 0 min ago +partial +[0-9.]+ (B|kB)  more$'
  assert_line --regexp '^[0-9-]{15} +12 h 0 min ago +unfinished +[0-9.]+ (B|kB)  uploads$'
  assert_line --regexp '^3 backups, [0-9.]+ kB; [0-9]+ distinct files, shared by all, [0-9.]+ kB$'
  assert_equal "$(awk 'length > 80' <<<"$output")" ''
}

@test "--json gives the same to programs, with the disk's free space where there is one" {
  export BACKUP_STORE=file://$BATS_TEST_TMPDIR/store
  mkdir "$BATS_TEST_TMPDIR/store"
  local id
  id=$(opsbook backup)
  run -0 --separate-stderr opsbook list --json
  assert_output --regexp "^\{\"store\":\"file://.*/store/$APP\",\"backups\":\[\{\"id\":\"$id\",\"state\":\"complete\",\"started\":\"[0-9TZ:.-]+\",\"bytes\":[0-9]+,\"parts\":\[\{\"kind\":\"directory\",\"name\":\"uploads\"\}\],\"whole\":true\}\],\"contents\":4,\"contentBytes\":[0-9]+,\"free\":[0-9]+\}$"
}

@test "--max-age exits 3 when the newest complete backup is older, or from the future, or there is none" {
  run -3 --separate-stderr opsbook list --max-age 26h
  assert_error 'no complete backup in s3://'
  opsbook backup
  run -0 later 1 opsbook list --max-age 26h
  run -3 --separate-stderr later 1.2 opsbook list --max-age 26h --json
  assert_error 'the newest complete backup, [0-9-]+, is 28 h 48 min old; the limit is 26 h 0 min'
  run -3 --separate-stderr later -3 opsbook list --max-age 26h
  assert_error 'is from the future: a clock is wrong'
  run -2 opsbook list --max-age soon
}

@test "F2: a part that the last complete backup had is not left out in silence, and --without says that it is meant" {
  mkdir "$APP_DIR/more"
  echo x >"$APP_DIR/more/x"
  local id
  id=$(BACKUP_DIRECTORIES=uploads,more opsbook backup)
  run -2 --separate-stderr later 1 opsbook backup
  assert_error "the last complete backup, $id, has the directory more; .* Next: name it in BACKUP_DIRECTORIES, or .* --without more"
  run -2 --separate-stderr later 1 opsbook backup --dry-run --without uploads --without more
  assert_error '--without uploads: the settings name the directory uploads'
  run -0 later 1 opsbook backup --only uploads --dry-run
  printf 'BACKUP_DATABASE=sqlite:///nowhere.db\n' >"$BATS_TEST_TMPDIR/app.env"
  # It may be the app's own where the last backup says what there was; before the first nothing does.
  run -0 --separate-stderr later 1 opsbook backup --without more --dry-run --env-file "$BATS_TEST_TMPDIR/app.env"
  [[ $stderr == *'warning: BACKUP_DATABASE is not a setting, and not read; BACKUP_DATABASES is, and is not set'* ]]
  BACKUP_STORE=file://$BATS_TEST_TMPDIR/first \
    run -2 --separate-stderr later 1 opsbook backup --env-file "$BATS_TEST_TMPDIR/app.env"
  assert_error 'BACKUP_DATABASE is not a setting of ours: BACKUP_DATABASES is, and is not set'
  assert_equal "$(keys | grep -c manifest)" 1
  # A host that forgot, and may not read, says that it does not know.
  mv "$APP_DIR/.opsbook/manifests" "$BATS_TEST_TMPDIR"
  run -0 --separate-stderr later 1 opsbook backup --dry-run
  [[ $stderr == *"warning: whether the last complete backup, $id, has a directory or a bucket that this one lacks is unknown"* ]]
  run -2 as_reader later 1 opsbook backup --dry-run
  mv "$BATS_TEST_TMPDIR/manifests" "$APP_DIR/.opsbook"
  # Told once, it is what the next one is held against.
  run -0 later 1 opsbook backup --without more
  run -0 later 2 opsbook backup
}
