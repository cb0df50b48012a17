# What the tests of a backup under faults share, beside the world: runs in the background that can be watched, a
# database server of a file's own that may be killed, and what has to be true after every failure.
load world
# Of the requests that a store of `fault` has been asked.
export FAULT_LOG=$BATS_TEST_TMPDIR/asked-of-store
export BATS_TEST_TIMEOUT=120

# Starts a script in the background: RUN is its process, $RUN_ERR what it says on stderr.
start() {
  local step=$1
  shift
  RUN_OUT=$BATS_TEST_TMPDIR/out RUN_ERR=$BATS_TEST_TMPDIR/err
  # A run before it may have sent more than the request that was waited for.
  rm -f "$FAULT_LOG"
  (cd "$BATS_TEST_TMPDIR" && exec "$NODE" "$REPO/scripts/backup/$step.ts" "$@") \
    >"$RUN_OUT" 2>"$RUN_ERR" 3>&- &
  RUN=$!
}

# Waits for the end of what was started: status, output and stderr are as `run` sets them.
finish() {
  status=0
  wait "$RUN" || status=$?
  unset RUN
  output=$(<"$RUN_OUT") stderr=$(<"$RUN_ERR")
}

# Whether a request that `fault` is about has come since the last time.
reached() {
  grep -qs "$1" "$FAULT_LOG" && rm "$FAULT_LOG"
}

# The store itself again, after `fault`.
mend() {
  end_fault || true
  unset FAULT_PID
  export AWS_ENDPOINT_URL=$SANDBOX_AWS_URL
}

# For teardown: ends the run and the store that misbehaves, if they are still there.
end_all() {
  [ -z "${RUN:-}" ] || kill -KILL "$RUN" || true
  end_fault || true
  let_dump
}

# Fails unless the last run said one error, in one line, that matches.
assert_error() {
  local said
  said=$(grep -E '^[0-9TZ:-]+ [a-z]+: error: ' <<<"$stderr") || fail "no error in: $stderr"
  assert_equal "$(wc -l <<<"$said")" 1
  [[ $said =~ $1 ]] || fail "$said"
  [[ $said != *unexpected:* ]] || fail "$said"
}

# The backups that `list` offers for a restore, one id a line.
offered() {
  opsbook list --json | grep -oE '"id":"[0-9-]+","state":"(complete|partial)"' | cut -d '"' -f 4
}

# Fails unless `list` offers exactly these backups.
assert_offered() {
  assert_equal "$(offered | xargs)" "$*"
}

# Uploads to the test's app that were begun and neither ended nor aborted.
uploads() {
  aws_cli s3api list-multipart-uploads --bucket bloaty-backups-x7 --prefix "$APP/" \
    --query 'Uploads[].Key' --output text | grep -v '^None$' || true
}

# Whether no client program of a backup runs in the database's container.
no_client_runs() {
  ! docker top "$DB_CONTAINER" -eo pid,args | grep -qE '(pg_dump|pg_dumpall|psql) --'
}

# Processes of the server's machine have other numbers there than in the container.
kill_client() {
  local pid
  pid=$(docker top "$DB_CONTAINER" -eo pid,args | awk -v program="$1" '$2 ~ "(^|/)" program "$" { print $1; exit }')
  on_host kill -KILL "$pid"
}

# Whether pg_dump reads a table of the database now.
dump_reads() {
  [ "$(sql "SELECT count(*) FROM pg_stat_progress_copy WHERE datname = '$1'" postgres)" != 0 ]
}

# A PostgreSQL server in a compose app of the file's own, for faults that the apps of the sandbox must not see. Sets
# what points scripts and `sql` to it; `drop_server` ends it.
own_server() {
  export COMPOSE_PROJECT_NAME="faults-$RANDOM" COMPOSE_FILE="$BATS_FILE_TMPDIR/compose.yml"
  cat >"$COMPOSE_FILE" <<'YAML'
services:
  db:
    image: sandbox/postgres:17
    command: postgres -c fsync=off -c full_page_writes=off
    environment: { POSTGRES_USER: postgres, POSTGRES_PASSWORD: of-the-tests }
    healthcheck: { test: [CMD, pg_isready, -h, 127.0.0.1], interval: 30s, start_interval: 300ms, start_period: 30s }
YAML
  docker compose up --detach --wait --quiet-pull >/dev/null 2>&1
  export DB_CONTAINER="$COMPOSE_PROJECT_NAME-db-1"
}

drop_server() {
  docker compose down --volumes --timeout 0 >/dev/null 2>&1
}

# A database whose dump does not shrink: so many MB.
big_database() {
  docker exec "$DB_CONTAINER" createdb -U postgres "$1"
  sql "CREATE TABLE blobs (id int, data bytea);
       ALTER TABLE blobs ALTER data SET STORAGE EXTERNAL;
       INSERT INTO blobs SELECT b, (SELECT string_agg(sha512((b * 1000 + i)::text::bytea), '')
         FROM generate_series(1, 1000) i) FROM generate_series(1, $2 * 16) b" "$1"
}

# Makes the dump of the test's database wait, until `let_dump`: it locks partitioned tables, which nothing else reads.
hold_dump() {
  sql "CREATE TABLE latch (id int) PARTITION BY LIST (id)"
  coproc HOLDER { exec docker exec -i "$DB_CONTAINER" psql -U postgres -d "$DB" -qAtX 2>/dev/null 3>&-; }
  echo "BEGIN; LOCK TABLE latch; SELECT 'held';" >&"${HOLDER[1]}"
  local held
  read -r held <&"${HOLDER[0]}"
  assert_equal "$held" held
}

dump_waits() {
  [ "$(sql "SELECT count(*) FROM pg_stat_activity
    WHERE datname = '$DB' AND query LIKE 'LOCK TABLE%' AND wait_event_type = 'Lock'" postgres)" = 1 ]
}

let_dump() {
  [ -n "${HOLDER_PID:-}" ] || return 0
  kill "$HOLDER_PID" || true
  unset HOLDER_PID
  sql "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted
    AND database = (SELECT oid FROM pg_database WHERE datname = '$DB')" postgres >/dev/null
}
