#!/usr/bin/env bats
# A dump that fails makes no backup: the run says why, and what was in the store before stays what it was.
bats_require_minimum_version 1.5.0

load faults

setup_file() {
  own_server
  big_database big 48
  local BATS_TEST_TMPDIR=$BATS_FILE_TMPDIR
  world
  # For all tests here: the small database, and a good backup of it in the store.
  export DB=small FILE_APP=$APP EARLIER
  database 10
  EARLIER=$(BACKUP_DATABASES=compose://db/small?user=postgres opsbook backup 2>/dev/null)
}

teardown_file() {
  drop_server
}

setup() {
  world
  export BACKUP_STORE="file://$BATS_TEST_TMPDIR/store" BACKUP_DATABASES="compose://db/small?user=postgres"
}

teardown() {
  end_all
  docker exec "$DB_CONTAINER" sh -c 'cd /var/run/postgresql; [ ! -e aside ] || mv aside .s.PGSQL.5432' || revive
}

revive() {
  docker compose up --detach --wait >/dev/null 2>&1
}

# Backs the big database up in the background, to a store so slow that the dump is going on while the test does its
# damage.
start_dump() {
  export APP=$FILE_APP BACKUP_STORE=s3://bloaty-backups-x7/ BACKUP_DATABASES="compose://db/big?user=postgres"
  fault slow:2000000 partNumber
  start backup --without small
  wait_for dump_reads big
}

# What has to be true after each dump that failed.
assert_nothing_but_earlier() {
  wait_for no_client_runs
  mend
  assert_offered "$EARLIER"
  assert_equal "$(uploads)" ""
}

assert_nothing_stored() {
  assert_equal "$(find "$BATS_TEST_TMPDIR/store" -type f 2>/dev/null)" ""
}

@test "row 1: a backend that is terminated halfway through a dump fails the backup" {
  start_dump
  sql "SELECT pg_terminate_backend(pid) FROM pg_stat_progress_copy WHERE datname = 'big'" postgres
  finish
  assert_equal "$status" 1
  # PostgreSQL's parting words do not always get through before the connection ends.
  assert_error 'compose://db/big.*(terminating connection due to administrator command|server closed the connection)'
  assert_nothing_but_earlier
  run -0 as_reader opsbook verify "$EARLIER"
}

@test "row 1: a database container that is killed halfway through a dump fails the backup" {
  start_dump
  docker kill "$DB_CONTAINER" >/dev/null
  finish
  assert_equal "$status" 1
  assert_error 'compose://db/big.*Next: check the log of the database'
  revive
  assert_nothing_but_earlier
}

@test "row 1: a docker CLI that is killed, as by the OOM killer, fails the backup and leaves no pg_dump" {
  start_dump
  kill -KILL "$(pgrep -P "$RUN" -f ' pg_dump ')"
  finish
  assert_equal "$status" 1
  assert_error 'compose://db/big.*docker was killed by SIGKILL'
  assert_nothing_but_earlier
}

@test "row 1: a pg_dump that is killed in its container fails the backup" {
  start_dump
  kill_client pg_dump
  finish
  assert_equal "$status" 1
  assert_error 'compose://db/big.*docker exited with 137'
  assert_nothing_but_earlier
}

@test "row 1: tables that the role may not read are all named, and nothing is begun" {
  database 10
  sql "CREATE ROLE $DB LOGIN; CREATE TABLE open (id int); GRANT SELECT ON open TO $DB"
  export BACKUP_DATABASES="compose://db/$DB?user=$DB"
  run -1 --separate-stderr opsbook backup
  assert_error 'the role may not read public.entries, public.users\. Next: GRANT pg_read_all_data'
  assert_nothing_stored
}

@test "row 1: a sequence that the role may not read fails the backup and is named" {
  database 10
  sql "CREATE ROLE $DB LOGIN; GRANT SELECT ON users, entries TO $DB"
  export BACKUP_DATABASES="compose://db/$DB?user=$DB"
  run -1 --separate-stderr opsbook backup
  assert_error 'permission denied for sequence (users|entries)_id_seq'
  assert_nothing_stored
}

@test "row 2: a database service that is stopped is said to be, with how to start it" {
  docker compose stop --timeout 0 db >/dev/null 2>&1
  run -1 --separate-stderr opsbook backup
  assert_error 'the service db is not running\. Next: docker compose up --detach db'
  assert_nothing_stored
}

@test "row 2: a container that is up, whose server is not reachable, fails the backup" {
  docker exec "$DB_CONTAINER" mv /var/run/postgresql/.s.PGSQL.5432 /var/run/postgresql/aside
  run -1 --separate-stderr opsbook backup
  assert_error 'compose://db/small.*connection to server .* failed.*Next: check that the server is running'
  assert_nothing_stored
}

@test "row 2: a database that does not exist is named, and the exit code says that the settings are wrong" {
  export BACKUP_DATABASES="compose://db/blaoty?user=postgres"
  run -2 --separate-stderr opsbook backup
  assert_error 'database "blaoty" does not exist.*Next: correct the name in BACKUP_DATABASES'
  assert_nothing_stored
}

@test "row 2: a service that does not exist is named beside those that do" {
  export BACKUP_DATABASES="compose://postgres/small?user=postgres"
  run -2 --separate-stderr opsbook backup
  assert_error 'compose has no service postgres; it has db'
}

@test "row 2: a Docker that does not run is said not to" {
  DOCKER_HOST="unix://$BATS_TEST_TMPDIR/none" run -1 --separate-stderr opsbook backup
  assert_error 'Cannot connect to the Docker daemon .*Next: start Docker'
}

@test "row 2: a compose file that is not there is named" {
  COMPOSE_FILE=/nowhere/compose.yml run -1 --separate-stderr opsbook backup
  assert_error 'docker compose: .*/nowhere/compose.yml.*Next: correct COMPOSE_FILE and APP_DIR'
}

@test "row 2: all that is wrong with several databases is reported before anything is done" {
  export BACKUP_DATABASES="compose://db/one?user=postgres,compose://db/small?user=postgres,compose://db/two?user=nobody"
  run -2 --separate-stderr opsbook backup
  assert_equal "$(grep -c ' error: ' <<<"$stderr")" 2
  assert_nothing_stored
}

# A backup from the sandbox's host, which has PostgreSQL's clients and reaches the server by its address.
direct_backup() {
  on_host env APP="$APP" APP_DIR=/tmp BACKUP_STORE="file:///tmp/$APP" BACKUP_DATABASES="$1" "${@:2}" \
    "$NODE" "$REPO/scripts/backup/backup.ts"
}

server_ip() {
  docker inspect --format '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' "$DB_CONTAINER"
}

@test "row 2: a wrong password of a direct connection is said to be wrong, and is not shown" {
  run -2 --separate-stderr direct_backup "postgres://postgres:wr0ng-s3cret@$(server_ip)/small"
  assert_error 'password authentication failed for user "postgres".*Next: correct the password'
  [[ $stderr$output != *wr0ng* ]]
}

@test "row 2: a pg_dump that is older than the server is refused, with what to install" {
  on_host sh -c "mkdir /tmp/$APP; printf '#!/bin/sh\necho pg_dump \"(PostgreSQL) 15.18\"\n' > /tmp/$APP/pg_dump; chmod +x /tmp/$APP/pg_dump"
  run -1 --separate-stderr direct_backup "postgres://postgres:of-the-tests@$(server_ip)/small" "PATH=/tmp/$APP:/usr/bin:/bin"
  on_host rm -r "/tmp/$APP"
  assert_error 'pg_dump 15\.18 is older than the server, 17\..*Next: install postgresql-client-17'
}

@test "row 2: a direct server that does not answer is said not to" {
  run -1 --separate-stderr direct_backup "postgres://postgres@127.0.0.1:1/small"
  assert_error 'Connection refused.*Next: check that the server is running'
}

@test "an empty database is backed up, and restored empty" {
  docker exec "$DB_CONTAINER" createdb -U postgres "$DB"
  export BACKUP_DATABASES="compose://db/$DB?user=postgres"
  run -0 opsbook backup
  sql "CREATE TABLE later (id int)"
  run -0 opsbook restore --yes
  assert_equal "$(sql "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")" 0
}

@test "row 9: a second backup on the same day leaves the first as it was" {
  database 10
  export BACKUP_DATABASES="compose://db/$DB?user=postgres"
  local before first
  before=$(fingerprint)
  run -0 --separate-stderr opsbook backup
  first=$output
  sql "DELETE FROM entries"
  run -0 --separate-stderr opsbook backup
  assert_offered "$first $output"
  run -0 opsbook restore "$first" --yes
  assert_equal "$(fingerprint)" "$before"
}

@test "row 9: a backup does not take the id of one that was begun in the same second" {
  local taken now
  TZ=UTC printf -v now '%(%s)T' -1
  for ((second = now; second < now + 60; second += 1)); do
    TZ=UTC printf -v taken '%(%Y%m%d-%H%M%S)T' "$second"
    mkdir -p "$BATS_TEST_TMPDIR/store/$APP/backups/$taken"
    touch "$BATS_TEST_TMPDIR/store/$APP/backups/$taken/started.json"
  done
  run -0 --separate-stderr opsbook backup
  [[ $output > $taken ]]
  assert_offered "$output"
}

# Makes a table of the test's database look like one of 600 MB: pages without a row in them are added to its file.
make_large() {
  local file
  file=$(sql "CHECKPOINT; SELECT current_setting('data_directory') || '/' || pg_relation_filepath('$1')")
  docker exec "$DB_CONTAINER" truncate --size 600M "$file"
  assert_equal "$(sql "SELECT pg_relation_size('$1') > 512 * 1024 * 1024")" t
}

@test "F30: a table is counted and compared, whatever its size, and without the rows of its children" {
  database 10
  sql "CREATE TABLE more () INHERITS (entries); INSERT INTO more SELECT * FROM entries LIMIT 3"
  make_large entries
  export BACKUP_DATABASES="compose://db/$DB?user=postgres"
  run -0 --separate-stderr opsbook backup
  local id=$output
  [[ $stderr == *"3 tables, 113 rows"* ]] || fail "$stderr"
  run -0 --separate-stderr opsbook drill
  [[ $stderr == *"equal: 3 tables, 113 rows"* ]] || fail "$stderr"
  sed -i 's/"rows": 10$/"rows": 11/' "$BATS_TEST_TMPDIR/store/$APP/backups/$id/manifest.json"
  run -3 --separate-stderr opsbook drill
  assert_error "table public.entries has 10 rows, was backed up with 11"
}
