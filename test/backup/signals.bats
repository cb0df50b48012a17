#!/usr/bin/env bats
# A backup that is ended, or that meets another one: no half of it is left behind, and the next run works.
bats_require_minimum_version 1.5.0

load faults

setup() {
  world
  mkdir "$APP_DIR/uploads"
  echo "$APP" >"$APP_DIR/uploads/a"
  export BACKUP_DIRECTORIES=uploads AWS_MAX_ATTEMPTS=1
}

teardown() {
  end_all
  drop_databases
}

# Whether nothing is left of what this test's scripts started.
no_children() {
  local name
  for name in $(grep -lsz "^APP=$APP\$" /proc/[0-9]*/environ | cut -d / -f 3); do
    [ "$name" != "${HOLDER_PID:-}" ] || continue
    ! grep -qxE 'docker|docker-compose|flock|sh|sleep' "/proc/$name/comm" 2>/dev/null || return 1
  done
}

# Begins a backup, waits until $1 succeeds, and ends the run by a signal of each kind. Each time: the exit code says
# so, nothing is left running or locked, and the store has no backup.
end_by_each_signal() {
  local signal code
  for signal in TERM:143 INT:130 KILL:137; do
    start backup
    wait_for "$@"
    code=${signal#*:} signal=${signal%:*}
    kill -s "$signal" "$RUN"
    finish
    assert_equal "$signal $status" "$signal $code"
    [ "$signal" = KILL ] || assert_error "interrupted by SIG$signal"
    flock --timeout 5 "$APP_DIR/.opsbook/backup.lock" true
    # Nobody is there after a kill -9 to end a pg_dump that waits for a lock, and to abort an upload.
    [ "$signal" != KILL ] || continue
    wait_for no_children
    wait_for no_client_runs
    assert_equal "$(uploads)" ""
  done
  assert_equal "$(keys | grep manifest)" ""
}

# The next run works, and says whose lock it took over.
assert_next_run_works() {
  wait_for no_children
  wait_for no_client_runs
  unset AWS_MAX_ATTEMPTS
  mend
  run -0 --separate-stderr opsbook backup
  [[ $stderr =~ warning:\ backup\ \(process\ [0-9]+,\ started\ .*\ ago\)\ died\ without\ finishing ]] || fail "$stderr"
  assert_offered "$output"
  run -0 --separate-stderr opsbook list
  assert_equal "$(grep -c unfinished <<<"$output")" "${1:-3}"
}

# A Docker that does not answer when it is asked for the version of pg_dump, until there is $BATS_TEST_TMPDIR/go.
slow_docker() {
  mkdir "$BATS_TEST_TMPDIR/bin"
  cat >"$BATS_TEST_TMPDIR/bin/docker" <<SH
#!/bin/sh
cd '$BATS_TEST_TMPDIR'
case "\$*" in *'pg_dump --version') touch asked; while [ ! -e go ] && kill -0 \$PPID; do sleep 0.05; done ;; esac
exec $(command -v docker) "\$@"
SH
  chmod +x "$BATS_TEST_TMPDIR/bin/docker"
}

asked() {
  rm "$BATS_TEST_TMPDIR/asked" 2>/dev/null
}

@test "row 6: a backup that is ended while it looks at the database" {
  slow_docker
  database 10
  PATH=$BATS_TEST_TMPDIR/bin:$PATH end_by_each_signal asked
  assert_next_run_works 0
}

@test "row 6: a backup that is ended while pg_dump waits for a lock" {
  database 10
  hold_dump
  end_by_each_signal dump_waits
  let_dump
  assert_next_run_works
}

@test "row 6: a backup that is ended while its dump flows" {
  big_database "$DB" 40
  fault hang partNumber
  end_by_each_signal dump_reads "$DB"
  sql "TRUNCATE blobs"
  assert_next_run_works
}

@test "row 6: a backup that is ended while it stores files" {
  unset BACKUP_DATABASES
  fault hang content/
  head -c 20000000 /dev/urandom >"$APP_DIR/uploads/large"
  end_by_each_signal reached content/
  assert_next_run_works
}

@test "row 6: a backup that is ended before its manifest is written" {
  unset BACKUP_DATABASES
  fault hang manifest
  end_by_each_signal reached manifest
  assert_next_run_works
}

@test "row 5: a second run at the same time exits 75 and names the first, which ends well" {
  database 10
  hold_dump
  start backup
  wait_for dump_waits
  local first=$RUN
  run -75 --separate-stderr opsbook backup
  assert_error "backup has been running for .* \\(process $first of $(id -un) on $(hostname), lock .*Next: wait for it, or end it"
  let_dump
  finish
  assert_equal "$status" 0
  assert_offered "$output"
  run -0 as_reader opsbook verify "$output"
}

# Begins backups in the name of another host, in each second from now on that a run of ours may have chosen.
begin_elsewhere() {
  local now second taken
  TZ=UTC printf -v now '%(%s)T' -1
  for ((second = now - 20; second < now + 3; second += 1)); do
    TZ=UTC printf -v taken '%(%Y%m%d-%H%M%S)T' "$second"
    mkdir -p "$BATS_TEST_TMPDIR/other/backups/$taken"
    echo "$taken" >"$BATS_TEST_TMPDIR/other/backups/$taken/started.json"
  done
}

@test "row 5: a run on another host that began in the same second is met, and left alone, in S3" {
  slow_docker
  database 10
  PATH=$BATS_TEST_TMPDIR/bin:$PATH start backup
  wait_for asked
  begin_elsewhere
  tar -C "$BATS_TEST_TMPDIR/other" -c backups | as_admin on_host sh -c "mkdir /tmp/$APP && tar -C /tmp/$APP -x"
  as_admin aws_on_host s3 cp --quiet --recursive "/tmp/$APP" "s3://bloaty-backups-x7/$APP"
  on_host rm -r "/tmp/$APP"
  touch "$BATS_TEST_TMPDIR/go"
  finish
  assert_equal "$status" 75
  assert_error 'another run began the backup [0-9-]+ of .* in this very second\. Next: '
  assert_equal "$(keys | grep -vc started.json)" 0
}

@test "row 5: a run on another host that began in the same second is met, and left alone, in a file store" {
  export BACKUP_STORE="file://$BATS_TEST_TMPDIR/store"
  slow_docker
  database 10
  PATH=$BATS_TEST_TMPDIR/bin:$PATH start backup
  wait_for asked
  begin_elsewhere
  mkdir "$BATS_TEST_TMPDIR/store"
  mv "$BATS_TEST_TMPDIR/other" "$BATS_TEST_TMPDIR/store/$APP"
  touch "$BATS_TEST_TMPDIR/go"
  finish
  assert_equal "$status" 75
  assert_error 'another run began the backup [0-9-]+ of .* in this very second'
  assert_equal "$(find "$BATS_TEST_TMPDIR/store" -name started.json | wc -l)" 23
}

@test "a database and a directory that shrank by more than half are warned of, and backed up" {
  export BACKUP_STORE="file://$BATS_TEST_TMPDIR/store"
  head -c 10000 /dev/urandom >"$APP_DIR/uploads/b"
  database 5000
  run -0 --separate-stderr opsbook backup
  local before=$output
  sql "DELETE FROM entries; DELETE FROM users"
  rm "$APP_DIR/uploads/b"
  run -0 --separate-stderr opsbook backup
  [[ $stderr == *"warning: postgres $DB shrank by more than half: "*" in $before, "*"restore.ts $before"* ]]
  [[ $stderr == *"warning: directory uploads shrank by more than half: 10.0 kB in $before, "* ]]
  assert_offered "$before $output"
}

@test "an empty directory is refused, and backed up by --allow-empty" {
  unset BACKUP_DATABASES
  export BACKUP_STORE="file://$BATS_TEST_TMPDIR/store"
  rm "$APP_DIR/uploads/a"
  run -1 --separate-stderr opsbook backup
  assert_error 'no file in .*; a volume that is not mounted looks like this\. Next: .*--allow-empty'
  run -0 --separate-stderr opsbook backup --allow-empty
  assert_offered "$output"
}
