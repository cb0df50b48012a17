#!/usr/bin/env bats
# A restore that is interrupted or killed at any step loses nothing live; the next one clears what it left.
bats_require_minimum_version 1.5.0

load restoring

setup() {
  world
  database 200
  holdable
}

teardown() {
  end_all
  release
  drop_databases
}

# Ends the restore that is held, in both ways: by a signal that it can act upon, and by one that it cannot.
assert_survived() {
  local before
  before=$(live)
  as_reader start restore "$2" --yes
  wait_for $1
  kill -TERM "$RUN"
  finish
  assert_equal "$status" 143
  assert_equal "$(live)" "$before"
  assert_nothing_left
  as_reader start restore "$2" --yes
  wait_for $1
  kill -KILL "$RUN"
  finish
  assert_equal "$status" 137
  assert_equal "$(live)" "$before"
}

# Fails unless the next restore is as good as any, and tells of the one that died.
assert_goes_on() {
  sql "DELETE FROM entries"
  run -0 --separate-stderr as_reader opsbook restore "$@" --yes
  [[ $stderr == *"restore (process "*") died without finishing; its lock was taken over"* ]]
  assert_equal "$(sql "SELECT count(*) FROM entries")" 200
  assert_nothing_left
}

# Whether a part of the dump is beside the server.
is_staged() {
  docker exec "$DB_CONTAINER" find /tmp -name "opsbook-*=$DB.dump" -size +1k | grep -q .
}

@test "a restore that is ended while the dump arrives" {
  local id
  id=$(opsbook backup)
  stall stall:5000 "$DB.dump"
  assert_survived is_staged "$id"
  mend
  assert_goes_on "$id"
}

@test "a store that cuts the connection off again and again while the dump arrives" {
  local id before
  id=$(opsbook backup)
  before=$(live)
  stall cut:500 "$DB.dump"
  run -1 --separate-stderr as_reader opsbook restore "$id" --yes
  assert_error "part $DB: reading .*$DB.dump was cut off"
  assert_equal "$(live)" "$before"
  assert_nothing_left
}

@test "a store that cuts the connection off once: the rest of the dump is asked for" {
  local before
  opsbook backup
  before=$(live)
  sql "DELETE FROM entries"
  stall cut-once:5000 "$DB.dump"
  run -0 --separate-stderr as_reader opsbook restore --yes
  assert_equal "$(live)" "$before"
}

@test "a restore that is ended while pg_restore works" {
  directory
  local id
  id=$(opsbook backup)
  hold create
  assert_survived 'is_held create' "$id"
  release
  assert_goes_on "$id"
}

@test "a restore that is ended just before the swap" {
  local id
  id=$(opsbook backup)
  hold analyze
  assert_survived 'is_held analyze' "$id"
  release
  assert_goes_on "$id"
}

@test "what a killed restore left is cleared by that of another backup, and by a drill" {
  local id
  id=$(opsbook backup)
  hold create
  as_reader start restore "$id" --yes
  wait_for is_held create
  kill -KILL "$RUN"
  finish
  as_reader start drill "$id"
  wait_for eval "docker exec $DB_CONTAINER psql -U postgres -lqt | grep -q ${DB}_drill_"
  kill -KILL "$RUN"
  finish
  release
  wait_for nobody_beside
  later 1 opsbook backup
  run -0 as_reader opsbook drill
  assert_nothing_left
}

# Whether the orphans of killed runs have ended.
nobody_beside() {
  [ "$(sql "SELECT count(*) FROM pg_stat_activity WHERE datname ~ '^${DB}_'" postgres)" = 0 ]
}

@test "a restore that is killed after the swap can be undone" {
  directory
  local id
  id=$(opsbook backup)
  sql "DELETE FROM entries WHERE id > 10"
  swapped() { sql "SELECT 1 FROM pg_database WHERE datname = '${DB}_before_$id'" postgres | grep -q 1; }
  as_reader start restore "$id" --only databases --yes
  wait_for swapped
  wait_for grep -q "$id" "$APP_DIR/.opsbook/restores.jsonl"
  kill -KILL "$RUN" 2>/dev/null || true
  finish
  assert_equal "$(sql "SELECT count(*) FROM entries")" 200
  run -0 opsbook restore --undo --yes
  assert_equal "$(sql "SELECT count(*) FROM entries")" 10
}

@test "two restores at once: the second is told who runs" {
  opsbook backup
  hold create
  as_reader start restore --yes
  wait_for is_held create
  run -75 --separate-stderr as_reader opsbook restore --yes
  assert_error "restore has been running for .* \(process $RUN of "
  release
  finish
  assert_equal "$status" 0
}
