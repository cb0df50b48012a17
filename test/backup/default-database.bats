#!/usr/bin/env bats
# An app whose database is called `postgres`, as it is where nobody named one: all else is said from another database.
bats_require_minimum_version 1.5.0

load restoring

setup_file() { own_server; }
teardown_file() { drop_server; }

setup() {
  world
  export DB=postgres BACKUP_DATABASES="compose://db/postgres"
  sql "CREATE TABLE users (id int PRIMARY KEY); INSERT INTO users VALUES (1);
       CREATE TABLE entries (id int PRIMARY KEY); INSERT INTO entries SELECT generate_series(1, 100)"
}

@test "the database postgres is restored, swapped in, put back, and comes back when it was dropped" {
  run -0 opsbook backup
  local before after
  before=$(fingerprint)
  sql "DELETE FROM entries WHERE id > 50"
  after=$(fingerprint)
  run -0 as_reader opsbook restore --yes
  assert_equal "$(fingerprint)" "$before"
  run -0 as_reader opsbook restore --undo --yes
  assert_equal "$(fingerprint)" "$after"
  run -0 as_reader opsbook drill
  sql "DROP DATABASE postgres WITH (FORCE)" template1
  run -0 as_reader opsbook restore --yes
  assert_equal "$(fingerprint)" "$before"
}
