#!/usr/bin/env bats
# Row 10 of the baseline, and what else retention must never do.
bats_require_minimum_version 1.5.0

load restoring

setup() {
  world
  unset BACKUP_DATABASES
  directory
  export BACKUP_STORE=file://$BATS_TEST_TMPDIR/store
  mkdir "$BATS_TEST_TMPDIR/store"
}

teardown() {
  drop_databases
}

# The ids in the store, oldest first.
ids() {
  ls "$BATS_TEST_TMPDIR/store/$APP/backups"
}

# Backs up on each of these days.
backups_of() {
  local day
  for day in "$@"; do later "$day" opsbook backup 2>/dev/null; done
}

@test "row 10: when backups fail, the good ones stay, and prune says why it deletes nothing" {
  backups_of 0 1 2 3 4 5 6 7 >/dev/null
  local good day
  run -0 later 7 opsbook prune
  good=$(ids)
  assert_equal "$(wc -l <<<"$good")" 7
  mv "$APP_DIR/uploads" "$APP_DIR/gone"
  for day in 8 9 12 20; do
    run -1 later "$day" opsbook backup
    run later "$day" opsbook prune
    # On the eighth day the newest is not overdue yet; there is no more than the policy keeps.
    if ((day == 8)); then assert_equal "$status" 0; else assert_equal "$status" 1; fi
    assert_equal "$(ids)" "$good"
  done
  assert_output --regexp 'the newest complete backup, [0-9-]+, is 13 d 0 h old, and they should be daily'
  run -0 as_reader later 20 opsbook restore --yes
}

@test "a clock that is wrong, in either direction, deletes nothing" {
  backups_of 0 1 2 >/dev/null
  local all
  all=$(ids)
  export BACKUP_KEEP=daily=1
  run -1 --separate-stderr later -30 opsbook prune
  assert_error 'backup [0-9-]+ is from the future: a clock is wrong'
  run -1 --separate-stderr later 400 opsbook prune --older-than 30d
  assert_error 'is 398 d 0 h old, and they should be daily'
  assert_equal "$(ids)" "$all"
  run -0 later 400 opsbook prune --older-than 30d --force
  assert_equal "$(ids)" "${all##*$'\n'}"
}

@test "a policy that would delete everything is refused, or keeps the newest all the same" {
  BACKUP_KEEP=daily=0,weekly=0 run -2 --separate-stderr opsbook prune
  assert_error 'BACKUP_KEEP=daily=0,weekly=0: would keep nothing'
  backups_of 0 1 >/dev/null
  local newest
  newest=$(ids | tail -1)
  run -0 later 1.1 opsbook prune --older-than 0m --force
  assert_equal "$(ids)" "$newest"
  run -2 opsbook prune --older-than never
}

@test "where there is no complete backup, partial ones are not deleted" {
  mkdir "$APP_DIR/more"
  echo x >"$APP_DIR/more/x"
  BACKUP_DIRECTORIES=uploads,more opsbook backup --only more
  run -1 --separate-stderr opsbook prune --older-than 0m
  assert_error 'there is no complete backup: nothing is deleted'
  assert_equal "$(ids | wc -l)" 1
}

@test "--older-than goes by age, and --dry-run deletes nothing" {
  local all
  all=$(backups_of 0 1 2)
  run -0 --separate-stderr later 2.2 opsbook prune --older-than 36h --dry-run
  [[ $stderr == *"would: delete ${all:0:15}"* ]]
  assert_equal "$(ids)" "$all"
  run -0 --separate-stderr later 2.2 opsbook prune --older-than 36h --json
  assert_equal "$(ids)" "${all:16}"
  [[ $output == "{\"deleted\":[\"${all:0:15}\"],\"kept\":[\"${all:16:15}\",\"${all:32}\"],"* ]]
}

@test "a backup that was never finished goes after a day, not before" {
  local id
  id=$(opsbook backup 2>/dev/null)
  rm "$BATS_TEST_TMPDIR/store/$APP/backups/$id/manifest.json"
  backups_of 0.9 >/dev/null
  run -0 later 0.9 opsbook prune
  assert_output --partial 'may be in progress'
  assert_equal "$(ids | wc -l)" 2
  run -0 later 1.1 opsbook prune
  assert_equal "$(ids | wc -l)" 1
  run ! ls "$BATS_TEST_TMPDIR/store/$APP/backups/$id"
}

@test "a role that may write and delete prunes without reading, and shared content stays" {
  export BACKUP_STORE=s3://bloaty-backups-x7/ BACKUP_KEEP=daily=2
  echo 'only on the first day' >"$APP_DIR/uploads/first"
  backups_of 0 >/dev/null
  rm "$APP_DIR/uploads/first"
  backups_of 1 2 >/dev/null
  local before
  before=$(files_of)
  run -0 as_pruner later 2.2 opsbook prune
  refute_output --partial 'not collected'
  run keys
  refute_output --partial "$(echo 'only on the first day' | sha256sum | cut -c 1-64)"
  assert_output --partial "$(sha256sum "$APP_DIR/uploads/2026/cat.svg" | cut -c 1-64)"
  rm -r "$APP_DIR/uploads"
  run -0 as_reader later 2.2 opsbook restore --yes
  assert_equal "$(files_of)" "$before"
}

@test "a host that forgot what its backups refer to says so, and deletes no content" {
  export BACKUP_STORE=s3://bloaty-backups-x7/ BACKUP_KEEP=daily=1
  echo 'only on the first day' >"$APP_DIR/uploads/first"
  backups_of 0 >/dev/null
  rm "$APP_DIR/uploads/first"
  backups_of 1 >/dev/null
  rm -r "$APP_DIR/.opsbook/trees"
  run -0 --separate-stderr as_pruner later 2 opsbook prune
  [[ $stderr == *"warning: files that no backup refers to were not collected"*"may not read the store"*"credentials of a reader that may delete"* ]]
  run keys
  assert_output --partial "$(echo 'only on the first day' | sha256sum | cut -c 1-64)"
  run -0 --separate-stderr as_admin later 2 opsbook prune
  [[ $stderr == *"that no backup refers to: done"* ]]
  run keys
  refute_output --partial "$(echo 'only on the first day' | sha256sum | cut -c 1-64)"
}

@test "the role that takes backups may not prune, and is told" {
  export BACKUP_STORE=s3://bloaty-backups-x7/ BACKUP_KEEP=daily=1
  backups_of 0 1 >/dev/null
  run -1 --separate-stderr later 1.1 opsbook prune
  assert_error 'DeleteObject.*AccessDenied'
  run -0 opsbook list
  assert_output --partial '2 backups'
}

# Writes what a writer may write: an object of the test's app, from standard input.
plant() {
  aws_on_host s3 cp --quiet - "s3://bloaty-backups-x7/$APP/backups/$1"
}

@test "A4: manifests that a writer planted under later ids let nothing be deleted, and are not fresh" {
  export BACKUP_STORE=s3://bloaty-backups-x7/ BACKUP_KEEP=daily=2
  local genuine planted host=$APP_DIR
  genuine=$(backups_of 0 1 2 | sort)
  planted=$(date -u -d '+60 hours' +%Y%m%d-%H%M%S)
  printf '{}' | plant "$planted/manifest.json"
  sed "s/${genuine##*$'\n'}/$(date -u -d '+61 hours' +%Y%m%d-%H%M%S)/g" \
    "$host/.opsbook/manifests/${genuine##*$'\n'}.json" | plant "$(date -u -d '+61 hours' +%Y%m%d-%H%M%S)/manifest.json"
  # On the host, and elsewhere by a reader: the newest is two days old.
  run -3 --separate-stderr later 4 opsbook list --max-age 26h
  assert_error "newest complete backup, ${genuine##*$'\n'}, is 2 d 0 h old"
  APP_DIR=$BATS_TEST_TMPDIR
  run -3 --separate-stderr as_reader later 4 opsbook list --max-age 26h
  assert_error "newest complete backup, ${genuine##*$'\n'}, is 2 d 0 h old"
  [[ $stderr == *"backup $planted does not count: backup $planted: manifest version"* ]]
  # Elsewhere a role that may not read knows nothing, and deletes nothing.
  run -1 --separate-stderr as_pruner later 3 opsbook prune
  assert_error 'there is no complete backup that counts: nothing is deleted'
  run -0 --separate-stderr as_admin later 3 opsbook prune
  [[ $stderr == *"backup $planted is left alone, and counts for nothing: "*"manifest version"* ]]
  run keys
  refute_output --partial "${genuine%%$'\n'*}"
  assert_equal "$(grep -c '/manifest.json$' <<<"$output")" 4
  # What is restored is genuine, and verify does not keep what is wrong to itself.
  APP_DIR=$host
  rm -r "$APP_DIR/uploads"
  run -0 --separate-stderr as_reader later 3 opsbook restore --yes
  assert_output "${genuine##*$'\n'}"
  [[ $stderr == *"warning: passed over: backup $planted: manifest version"* ]]
  run -3 --separate-stderr as_reader later 3 opsbook verify
  assert_error 'a backup newer than .* is none: .* before the time in its id'
}

@test "F2: a backup that lacks a part never makes the last that has it go" {
  mkdir "$APP_DIR/more"
  echo x >"$APP_DIR/more/x"
  BACKUP_DIRECTORIES=uploads,more backups_of 0 1 >/dev/null
  local last
  last=$(ids | tail -1)
  later 2 opsbook backup --without more >/dev/null 2>&1
  backups_of 3 >/dev/null
  BACKUP_KEEP=daily=1 run -0 later 3 opsbook prune
  assert_output --regexp "$last +complete +[0-9.]+ [k]?B +keep: the last with more"
  assert_equal "$(ids | wc -l)" 2
}
