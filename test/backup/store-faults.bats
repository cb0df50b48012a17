#!/usr/bin/env bats
# A store that fails makes no backup, leaves nothing half-written, and what it had stays as it was.
bats_require_minimum_version 1.5.0

load faults

setup_file() {
  # A store that never answers takes 30 s to be given up: that runs beside the other tests.
  local BATS_TEST_TMPDIR=$BATS_FILE_TMPDIR
  world
  directory
  fault hang '' GET
  {
    AWS_MAX_ATTEMPTS=1 opsbook backup >/dev/null 2>"$BATS_FILE_TMPDIR/err" || echo $? >"$BATS_FILE_TMPDIR/status"
  } 3>&- &
  export HANGING_STORE=$FAULT_PID AWS_ENDPOINT_URL=$SANDBOX_AWS_URL
}

teardown_file() {
  kill "$HANGING_STORE"
}

setup() {
  world
  directory
  export AWS_MAX_ATTEMPTS=2
}

teardown() {
  end_all
  unmount
  [ -z "${BACKUP_DATABASES:-}" ] || drop_role_and_databases
}

drop_role_and_databases() {
  drop_databases
  sql "DROP ROLE IF EXISTS $DB" postgres 2>/dev/null
}

# A directory to back up, for all that a database is not needed for.
directory() {
  mkdir -p "$APP_DIR/uploads"
  echo "$APP" >"$APP_DIR/uploads/a"
  unset BACKUP_DATABASES
  export BACKUP_DIRECTORIES=uploads
}

# A file that goes to the store in three parts.
large_file() {
  head -c 20000000 /dev/urandom >"$APP_DIR/uploads/large"
}

@test "row 3: a bucket that does not exist is named" {
  export BACKUP_STORE=s3://bloaty-bakcups-x7/
  run -1 --separate-stderr as_admin opsbook backup
  assert_error "s3://bloaty-bakcups-x7/$APP/.*NoSuchBucket.*Next: create the bucket, or correct its name"
}

@test "row 3: a bucket of someone else refuses, and the permission that is missing is named" {
  export BACKUP_STORE=s3://bloaty-bakcups-x7/
  run -1 --separate-stderr opsbook backup
  assert_error 'AccessDenied \(403\).*allowed s3:ListBucket'
}

@test "row 3: credentials that may not write are refused, and the permission is named" {
  run -1 --separate-stderr as_reader opsbook backup
  assert_error 'PutObject .*AccessDenied \(403\).*allowed s3:PutObject'
  assert_equal "$(keys)" ""
}

@test "row 3: a secret key that is wrong is refused by the store, and not shown" {
  export AWS_SECRET_ACCESS_KEY=wrong-but-secret-all-the-same
  run -1 --separate-stderr opsbook backup
  assert_error 'SignatureDoesNotMatch \(403\).*Next: correct the keys: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY'
  [[ $stderr != *but-secret* ]]
}

@test "row 3: without credentials it says where they may come from" {
  unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY
  export HOME=$BATS_TEST_TMPDIR AWS_EC2_METADATA_DISABLED=true
  run -1 --separate-stderr opsbook backup
  assert_error 'CredentialsProviderError.*Next: set AWS_PROFILE or keys, or give the host a role'
}

@test "row 3: a region that is none is refused with the settings" {
  AWS_REGION=stockholm run -2 --separate-stderr opsbook backup
  assert_error 'AWS_REGION=stockholm: is not the name of a region'
}

@test "row 3: a bucket in another region says which setting is wrong" {
  fault 301 '' GET
  run -1 --separate-stderr opsbook backup
  assert_error "PermanentRedirect.*Next: set AWS_REGION to the bucket's region"
}

@test "row 3: a store that cannot be reached fails the backup" {
  AWS_ENDPOINT_URL=http://127.0.0.1:1 run -1 --separate-stderr opsbook backup
  assert_error 'ListBucket .*ECONNREFUSED.*Next: check AWS_ENDPOINT_URL and the network'
}

@test "row 3: a store that answers 500 to the first request once is asked again" {
  fault 500-once content/
  run -0 --separate-stderr opsbook backup
  run -0 as_reader opsbook verify "$output"
}

@test "row 3: a store that answers 500 fails the backup, and the one before stays" {
  run -0 --separate-stderr opsbook backup
  local before=$output
  echo new >"$APP_DIR/uploads/b"
  fault 500 content/
  run -1 --separate-stderr opsbook backup
  assert_error 'PutObject .*InternalError \(500\).*Next: the store is failing'
  mend
  assert_offered "$before"
  run -0 as_reader opsbook verify "$before"
}

@test "row 3: a store that says SlowDown to the last fails the backup" {
  fault 503 manifest
  run -1 --separate-stderr opsbook backup
  assert_error 'PutObject .*SlowDown \(503\)'
  assert_offered
}

@test "row 3: a connection that is cut in the middle of an upload is taken up again" {
  large_file
  fault cut-once:3000000 partNumber=2
  run -0 --separate-stderr opsbook backup
  run -0 as_reader opsbook verify "$output"
  assert_equal "$(uploads)" ""
}

@test "row 3: a connection that is cut each time fails the backup, and no upload is left behind" {
  large_file
  fault cut:3000000 partNumber=2
  run -1 --separate-stderr opsbook backup
  assert_error 'PutObject s3://'
  mend
  assert_offered
  assert_equal "$(uploads)" ""
}

@test "row 3: a dump that the store refuses halfway fails the backup, and no pg_dump is left running" {
  unset BACKUP_DIRECTORIES
  big_database "$DB" 24
  export BACKUP_DATABASES="compose://db/$DB?user=postgres"
  fault 500 partNumber=2
  run -1 --separate-stderr opsbook backup
  assert_error "$DB.dump.*InternalError \\(500\\)"
  wait_for no_client_runs
  mend
  assert_offered
  assert_equal "$(uploads)" ""
}

# A store of so many MB, on a disk of its own.
small_disk() {
  DISK=$BATS_TEST_TMPDIR/disk
  mkdir "$DISK"
  mount -t tmpfs -o "size=$1m" opsbook "$DISK" || skip "this machine does not let us mount a disk of our own"
  export BACKUP_STORE="file://$DISK/store"
}

unmount() {
  [ -z "${DISK:-}" ] || umount "$DISK"
}

used() {
  df --output=used "$DISK" | tail -n 1
}

@test "row 4: a full disk fails the backup of a directory, frees what it took, and the next run works" {
  small_disk 10
  run -0 --separate-stderr opsbook backup
  local before=$output used
  used=$(used)
  large_file
  run -1 --separate-stderr opsbook backup
  assert_error 'no space left on the disk\. Next: free space'
  assert_equal "$(find "$DISK" -name '*.partial')" ""
  assert_offered "$before"
  ((used + 100 > $(used)))
  rm "$APP_DIR/uploads/large"
  run -0 --separate-stderr opsbook backup
  assert_offered "$before $output"
  run -0 opsbook verify "$before"
}

@test "row 4: a full disk fails the backup of databases, keeps no part of it, and the one before can be restored" {
  small_disk 10
  database 10
  export BACKUP_DATABASES="compose://db/$DB?user=postgres"
  unset BACKUP_DIRECTORIES
  run -0 --separate-stderr opsbook backup
  local before=$output rows
  rows=$(fingerprint)
  big_database "${DB}_fits" 4
  big_database "${DB}_not" 8
  BACKUP_DATABASES="compose://db/${DB}_fits?user=postgres,compose://db/${DB}_not?user=postgres" \
    run -1 --separate-stderr opsbook backup --without "$DB"
  assert_error "${DB}_not.dump: no space left on the disk"
  wait_for no_client_runs
  assert_offered "$before"
  assert_equal "$(find "$DISK" -type f -not -path "*/$before/*")" ""
  sql "DELETE FROM entries"
  run -0 --separate-stderr opsbook restore "$before" --yes
  assert_equal "$(fingerprint)" "$rows"
}

@test "row 4: a store whose disk is not mounted is refused" {
  export BACKUP_STORE="file://$BATS_TEST_TMPDIR/mnt/disk/store"
  run -1 --separate-stderr opsbook backup
  assert_error 'is not there, nor is its parent\. Next: mount it, or create it: mkdir -p'
  [ ! -e "$BATS_TEST_TMPDIR/mnt" ]
}

# Runs a script as a user who has no rights here but on the app's directory.
as_nobody() {
  chmod 755 "$BATS_RUN_TMPDIR" "$BATS_RUN_TMPDIR"/{test,file}* "$BATS_TEST_TMPDIR"
  chown -R nobody "$APP_DIR"
  setpriv --reuid=nobody --regid=nogroup --clear-groups "$@"
}

backup_as_nobody() {
  as_nobody "$NODE" "$REPO/scripts/backup/backup.ts"
}

@test "row 4: a store that this user may not write to is refused before anything is read" {
  export BACKUP_STORE="file://$BATS_TEST_TMPDIR/store"
  mkdir "$BATS_TEST_TMPDIR/store"
  run -1 --separate-stderr backup_as_nobody
  assert_error "$BATS_TEST_TMPDIR/store: permission denied\\. Next: give this user the right"
}

@test "row 4: a store that is mounted read-only is refused, also for root" {
  small_disk 1
  mount -o remount,ro "$DISK"
  run -1 --separate-stderr opsbook backup
  assert_error 'disk: the disk is mounted read-only\. Next: mount it writable'
}

@test "row 11: what is in a file store and beside the app is for its owner alone" {
  umask 022
  export BACKUP_STORE="file://$BATS_TEST_TMPDIR/store" DB
  database 10
  export BACKUP_DATABASES="compose://db/$DB?user=postgres"
  run -0 opsbook backup
  run -0 find "$BATS_TEST_TMPDIR/store" "$APP_DIR/.opsbook" -type f -not -perm 600 -o -type d -not -perm 700
  assert_output ""
  local dump
  dump=$(find "$BATS_TEST_TMPDIR/store" -name '*.dump')
  [ -s "$dump" ]
  run -1 as_nobody cat "$dump"
  assert_output --partial "Permission denied"
}

# The command lines of all processes of this machine, those in containers too.
command_lines() {
  cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\0' '\n'
}

@test "row 11: no secret is in a command line, in a log or in --verbose output while a backup runs" {
  database 10
  sql "CREATE ROLE $DB SUPERUSER LOGIN PASSWORD 'Pa/ss+w0rd%\"x'" postgres
  local ip
  ip=$(docker inspect --format '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' "$DB_CONTAINER")
  export BACKUP_DATABASES="postgres://$DB:Pa%2Fss%2Bw0rd%25%22x@$ip:5432/$DB"
  # pg_dump waits for this, and so all programs of the backup are there to be looked at.
  hold_dump
  cat >"$BATS_TEST_TMPDIR/env" <<ENV
APP=$APP
APP_DIR=/tmp
AWS_REGION=$AWS_REGION
AWS_ENDPOINT_URL=http://aws:5000
AWS_ACCESS_KEY_ID=$AWS_ACCESS_KEY_ID
AWS_SECRET_ACCESS_KEY=$AWS_SECRET_ACCESS_KEY
BACKUP_STORE=$BACKUP_STORE
BACKUP_DATABASES='$BACKUP_DATABASES'
ENV
  on_host sh -c "umask 077; cat >/tmp/$APP.env" <"$BATS_TEST_TMPDIR/env"
  local key=$AWS_SECRET_ACCESS_KEY
  # on_host itself would show it.
  AWS_ACCESS_KEY_ID='' AWS_SECRET_ACCESS_KEY='' on_host env -u AWS_ACCESS_KEY_ID -u AWS_SECRET_ACCESS_KEY "$NODE" \
    "$REPO/scripts/backup/backup.ts" --verbose --env-file "/tmp/$APP.env" \
    >"$BATS_TEST_TMPDIR/out" 2>"$BATS_TEST_TMPDIR/err" 3>&- &
  RUN=$! RUN_OUT=$BATS_TEST_TMPDIR/out RUN_ERR=$BATS_TEST_TMPDIR/err
  wait_for dump_waits
  run -0 command_lines
  assert_output --partial pg_dump
  local seen=$output
  let_dump
  finish
  on_host rm "/tmp/$APP.env"
  assert_equal "$status" 0
  [[ $stderr == *'PGPASSWORD='*'[redacted]'*pg_dump* ]]
  for secret in 'ss+w0rd' 'ss%2Bw0rd' "$key"; do
    [[ $seen$output$stderr != *"$secret"* ]] || fail "$secret is to be seen"
  done
}

@test "row 3: a store that takes a request and never answers is given up" {
  wait_for test -s "$BATS_FILE_TMPDIR/status" || wait_for test -s "$BATS_FILE_TMPDIR/status"
  assert_equal "$(<"$BATS_FILE_TMPDIR/status")" 1
  stderr=$(<"$BATS_FILE_TMPDIR/err")
  assert_error 'ListBucket .*TimeoutError'
}
