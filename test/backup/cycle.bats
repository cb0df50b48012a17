#!/usr/bin/env bats
# The main path: what is backed up by a role that may only write comes back as it was.
bats_require_minimum_version 1.5.0

load world

setup() {
  world
  database
}

teardown() {
  drop_databases
}

@test "a dropped table comes back with every row as it was" {
  local before
  before=$(fingerprint)
  run -0 --separate-stderr opsbook backup
  local id=$output
  sql "DROP TABLE entries"
  run -0 as_reader opsbook restore "$id" --yes
  assert_equal "$(fingerprint)" "$before"
  assert_equal "$(sql "SELECT nextval('entries_id_seq')")" 2001
}

@test "--undo puts back what the restore replaced, and keeps what it had brought" {
  run -0 opsbook backup
  sql "DELETE FROM entries WHERE id > 10"
  local after
  after=$(fingerprint)
  run -0 as_reader opsbook restore --yes
  run -0 as_reader opsbook restore --undo --yes
  assert_equal "$(fingerprint)" "$after"
  assert_equal "$(sql "SELECT count(*) FROM entries" "$(sql "SELECT datname FROM pg_database WHERE datname LIKE '${DB}_undone%'")")" 2000
}

@test "the role that takes backups may not read them, and a restore with it says so" {
  run -0 opsbook backup
  run -1 --separate-stderr opsbook restore --yes
  [[ $stderr == *"may not read the store"*"credentials of a reader"* ]]
}
