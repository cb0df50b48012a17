#!/usr/bin/env bats
# Directories under faults: what was backed up stays, what is odd comes back as it was, what cannot be read is said.
bats_require_minimum_version 1.5.0

load faults

setup_file() {
  # Reading 6 GB takes most of a minute: that runs beside the other tests.
  local BATS_TEST_TMPDIR=$BATS_FILE_TMPDIR
  world
  mkdir "$APP_DIR/uploads"
  truncate -s 6G "$APP_DIR/uploads/sparse"
  unset BACKUP_DATABASES
  export BACKUP_DIRECTORIES=uploads BACKUP_STORE="file://$BATS_FILE_TMPDIR/store"
  {
    start backup
    echo "$RUN" >"$BATS_FILE_TMPDIR/pid"
    while grep -s VmHWM "/proc/$RUN/status" >"$BATS_FILE_TMPDIR/now"; do
      mv "$BATS_FILE_TMPDIR/now" "$BATS_FILE_TMPDIR/peak"
      sleep 0.1
    done
    finish
    echo "$status" >"$BATS_FILE_TMPDIR/status"
  } 3>&- &
}

teardown_file() {
  [ -s "$BATS_FILE_TMPDIR/status" ] || kill "$(<"$BATS_FILE_TMPDIR/pid")"
}

setup() {
  world
  unset BACKUP_DATABASES
  export BACKUP_DIRECTORIES=uploads BACKUP_STORE="file://$BATS_TEST_TMPDIR/store" UPLOADS="$APP_DIR/uploads"
  mkdir "$UPLOADS"
  echo one >"$UPLOADS/one"
  echo two >"$UPLOADS/two"
}

teardown() {
  end_all
}

# All objects of the store, with their contents' sums.
objects() {
  (cd "$BATS_TEST_TMPDIR/store" && find . -type f -exec sha256sum {} + | sort)
}

# All that is in a directory: kinds, modes, times, sizes, names of any bytes, targets and contents.
everything() {
  (cd "$1" && find . -printf '%y %m %T@ %l %p\0' | sort -z | sha256sum &&
    find . -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum)
}

# Times that a double of seconds holds exactly: a restore sets them to within a microsecond.
age() {
  find "$UPLOADS" -exec touch --no-dereference --date '2001-02-03 04:05:06.5 UTC' {} +
}

@test "row 8: a file that was deleted and one that was overwritten are still in yesterday's backup" {
  local before
  age
  before=$(everything "$UPLOADS")
  run -0 --separate-stderr opsbook backup
  local yesterday=$output stored
  stored=$(objects)
  rm "$UPLOADS/one"
  echo rubbish >"$UPLOADS/two"
  run -0 --separate-stderr opsbook backup
  assert_offered "$yesterday $output"
  # Nothing that was there is gone or another.
  assert_equal "$(comm -23 <(echo "$stored") <(objects))" ""
  run -0 opsbook restore "$yesterday" --yes
  assert_equal "$(everything "$UPLOADS")" "$before"
}

@test "row 8: an emptied directory, as an unmounted volume looks, is refused and the store stays as it is" {
  run -0 --separate-stderr opsbook backup
  local stored
  stored=$(objects)
  rm "$UPLOADS"/*
  run -1 --separate-stderr opsbook backup
  assert_error "uploads: there is no file in $UPLOADS; a volume that is not mounted looks like this"
  assert_equal "$(objects)" "$stored"
}

@test "row 8: a directory that is missing is refused, and the store stays as it is" {
  run -0 --separate-stderr opsbook backup
  local stored
  stored=$(objects)
  rm -r "$UPLOADS"
  run -1 --separate-stderr opsbook backup
  assert_error "uploads: $UPLOADS is not there\\. Next: create or mount it, or correct BACKUP_DIRECTORIES"
  assert_equal "$(objects)" "$stored"
}

@test "row 8: a backup asks S3 for nothing that deletes, and works for a role that may not" {
  export BACKUP_STORE=s3://bloaty-backups-x7/ FAULT_LOG=$BATS_TEST_TMPDIR/deletes
  run -0 --separate-stderr opsbook backup
  rm "$UPLOADS/one"
  fault pass '' DELETE
  run -0 --separate-stderr opsbook backup
  [ ! -e "$FAULT_LOG" ]
}

@test "names of all kinds, links, empty directories and files, modes and times come back as they were" {
  mkdir -p "$UPLOADS/empty" "$UPLOADS/deep/er"
  : >"$UPLOADS/nothing"
  local name
  for name in $'new\nline' "quote's \"both\"" -dash '$(touch x)' 'back\slash' ' blanks ' $'not-utf8-\xff\xfe' $'tab\t' ünïcode '*'; do
    echo "$name" >"$UPLOADS/deep/er/$name"
  done
  ln -s ../one "$UPLOADS/deep/link"
  ln -s /nowhere "$UPLOADS/dangling"
  ln -s . "$UPLOADS/loop"
  chmod 640 "$UPLOADS/one" && chmod 4755 "$UPLOADS/two" && chmod 700 "$UPLOADS/deep"
  local before
  age
  before=$(everything "$UPLOADS")
  run -0 --separate-stderr opsbook backup
  rm -r "$UPLOADS"
  run -0 opsbook restore --yes --allow-setuid
  assert_equal "$(everything "$UPLOADS")" "$before"
}

@test "sockets and pipes are left out, and named" {
  mkfifo "$UPLOADS/pipe"
  run -0 --separate-stderr opsbook backup
  [[ $stderr == *'warning: uploads: left out, because they are not files (sockets, pipes, devices): pipe'* ]]
}

@test "files and directories that this user may not read are all named, and nothing is begun" {
  mkdir "$UPLOADS/closed"
  echo secret >"$UPLOADS/closed/file"
  chmod 755 "$BATS_RUN_TMPDIR" "$BATS_RUN_TMPDIR"/{test,file}* "$BATS_TEST_TMPDIR"
  chown -R nobody "$APP_DIR"
  chown root "$UPLOADS/one" "$UPLOADS/closed"
  chmod 600 "$UPLOADS/one" && chmod 700 "$UPLOADS/closed"
  mkdir -m 777 "$BATS_TEST_TMPDIR/store"
  run -1 --separate-stderr setpriv --reuid=nobody --regid=nogroup --clear-groups \
    "$NODE" "$REPO/scripts/backup/backup.ts"
  assert_error 'uploads: 2 of its files and directories may not be read by user [0-9]+: (one, closed|closed, one)\. Next'
  assert_equal "$(objects)" ""
}

@test "a file that vanishes between the look at it and the reading of it is counted, and the backup is good" {
  export BACKUP_STORE=s3://bloaty-backups-x7/
  local n
  for n in {10..90}; do echo "$n" >"$UPLOADS/f$n"; done
  # The first files are held back in the store for two seconds; those that wait for their turn go meanwhile.
  fault slow:2 content/
  start backup
  wait_for reached content/
  find "$UPLOADS" -name 'f*' -delete
  finish
  assert_equal "$status" 0
  [[ $stderr =~ uploads:\ .*\;\ [1-9][0-9]*\ files?\ vanished\ meanwhile ]] || fail "$stderr"
  run -0 as_reader opsbook verify "$output"
}

@test "a sparse file of 6 GB is backed up without being held in memory" {
  local tries=0
  until wait_for test -s "$BATS_FILE_TMPDIR/status" 2>/dev/null; do
    ((tries += 1, tries < 5)) || fail "$(<"$BATS_FILE_TMPDIR/err")"
  done
  assert_equal "$(<"$BATS_FILE_TMPDIR/status")" 0
  run cat "$BATS_FILE_TMPDIR/err"
  assert_output --regexp 'directory +uploads +6\.4 GB +6\.4 GB'
  local peak
  read -r _ peak _ <"$BATS_FILE_TMPDIR/peak"
  ((peak < 300000)) || fail "$peak kB"
}
