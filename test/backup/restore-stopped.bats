#!/usr/bin/env bats
# A restore of a database whose service is down.
bats_require_minimum_version 1.5.0

load restoring

setup() {
  world
  database 500
}

teardown() {
  docker start "$DB_CONTAINER" >/dev/null
  wait_for docker exec "$DB_CONTAINER" pg_isready -q -h 127.0.0.1 -U postgres
  drop_databases
}

@test "a service that is stopped is started, and --to still clears away nobody's database" {
  opsbook backup
  local before
  before=$(fingerprint)
  sql "DELETE FROM entries"
  docker stop "$DB_CONTAINER" >/dev/null
  run -2 --separate-stderr as_reader opsbook restore --to "$DB"
  assert_error "the database $DB exists already"
  assert_equal "$(sql "SELECT count(*) FROM entries")" 0
  docker stop "$DB_CONTAINER" >/dev/null
  run -0 --separate-stderr as_reader opsbook restore --yes
  [[ $stderr == *"started the service db, which was down"* ]]
  assert_equal "$(fingerprint)" "$before"
}
