#!/usr/bin/env bats
# The same over ssh, by an unprivileged user of the host; and a connection that is lost on the way.
bats_require_minimum_version 1.5.0

load world

setup_file() {
  app_up nginx
  image 2.0.0
  export TARGET="ssh://$SANDBOX_SSH" SSH_IDENTITY_FILE=$SANDBOX_SSH_KEY SSH_KNOWN_HOSTS="$BATS_FILE_TMPDIR/known_hosts"
  ssh-keyscan -p "${SANDBOX_SSH##*:}" 127.0.0.1 >"$SSH_KNOWN_HOSTS" 2>/dev/null
}

teardown_file() { app_down; }

setup() {
  app_reset
  chown -R 1000:1000 "$APP_DIR"
  # Where the sockets of shared connections are: in a place of the test's own.
  export TMPDIR=$BATS_TEST_TMPDIR
}

teardown() { end_started; }

@test "a version is deployed over ssh, and what is left on the host belongs to the owner of the app" {
  DOCKER_HOST='' run -0 --separate-stderr opsbook update-deployment 2.0.0
  assert_runs 2.0.0
  assert_equal "$(find "$APP_DIR" ! -user 1000)" ""
  DOCKER_HOST='' run -0 opsbook rollback --yes
  assert_runs 1.0.0
}

runs_beside() { [[ $(running) == *:2.0.0* ]]; }

@test "a connection that is lost on the way: the host ends in one version or the other, over a new one, and it says which" {
  HEALTHY_FOR=15 DOCKER_HOST='' "$NODE" "$REPO/scripts/deploy/update-deployment.ts" 2.0.0 \
    >"$BATS_TEST_TMPDIR/out" 2>"$BATS_TEST_TMPDIR/err" 3>&- &
  PID=$!
  STARTED+=("$PID")
  wait_long runs_beside
  pkill -KILL -f "ssh: $BATS_TEST_TMPDIR/opsbook-"
  wait_long gone "$PID"
  local code=0
  wait "$PID" || code=$?
  run -0 cat "$BATS_TEST_TMPDIR/err"
  if [ "$code" = 0 ]; then
    # No command ran at that moment but the one that holds the lock.
    assert_output --partial "the lock was lost on the way"
    assert_runs 2.0.0
  else
    assert_equal "$code" 1
    assert_output --partial "the connection was lost"
    assert_output --partial "error: 2.0.0 failed and 1.0.0 runs again"
    assert_runs 1.0.0
  fi
}

# What set-up leaves on a host: opsbook, and the settings that its cron entries are given. TARGET is the laptop's word.
host_opsbook() {
  export OPSBOOK_DIR=$REPO
  rm -rf "$APP_DIR/store"
  mkdir -p "$APP_DIR/uploads" "$APP_DIR/store"
  echo hello >"$APP_DIR/uploads/file"
  printf '%s\n' "APP=$APP" "APP_DIR=$APP_DIR" "BACKUP_STORE=file://$APP_DIR/store" BACKUP_DIRECTORIES=uploads \
    TARGET=ssh://nobody@127.0.0.1:9 >>"$APP_DIR/.env"
  chown -R 1000:1000 "$APP_DIR"
}

# Runs a script of ours where nothing of the host is: neither its directories nor a socket of an engine.
elsewhere() {
  local script=$1 name settings=()
  shift
  cp -p "$SSH_IDENTITY_FILE" "$BATS_TEST_TMPDIR/key"
  for name in APP APP_DIR TARGET IMAGE COMPOSE_FILE COMPOSE_PROJECT_NAME HEALTH_URL VERSION_URL ROLLOUT_SERVICES HEALTH_TIMEOUT \
    HEALTHY_FOR SSH_KNOWN_HOSTS OPSBOOK_DIR; do settings+=("$name=${!name}"); done
  (cd "$BATS_TEST_TMPDIR" && exec unshare --map-root-user --mount sh -c '
    for place in "${APP_DIR%/*}" "${DOCKER_HOST#unix://}" "${SANDBOX_DOCKER_HOST#unix://}"; do
      if [ -d "$place" ]; then mount -t tmpfs none "$place"; elif [ -e "$place" ]; then mount --bind /dev/null "$place"; fi
    done
    ! test -e "$APP_DIR" || exit 99
    exec env -i PATH=/usr/bin:/bin HOME="$PWD" TMPDIR="$PWD" SSH_IDENTITY_FILE="$PWD/key" "$@"' sh \
    "${settings[@]}" "$NODE" "$REPO/scripts/$script.ts" "$@")
}

backups() { find "$APP_DIR/store" -name manifest.json; }

@test "F26: --backup is taken by the host's own opsbook, with the host's settings, from a place that has nothing of the host" {
  host_opsbook
  run -0 --separate-stderr elsewhere deploy/update-deployment 2.0.0 --backup --dry-run
  assert_regex "$stderr" 'would: back up'
  assert_regex "$stderr" "would: back up.*backup/backup --env-file $APP_DIR/.env"
  assert_equal "$(backups)" ""
  run -0 --separate-stderr elsewhere deploy/update-deployment 2.0.0 --backup
  assert_regex "$stderr" '127.0.0.1 \| .* backup: write the manifest'
  assert_runs 2.0.0
  local id
  id=$(records backup | tail -n 1)
  assert_regex "$id" '^[0-9]{8}-[0-9]{6}$'
  assert_regex "$(backups)" "/$id/manifest.json$"
  assert_equal "$(find "$APP_DIR" ! -user 1000)" ""
}

@test "F26: a host without opsbook is refused before anything is changed, and a backup that fails is" {
  host_opsbook
  OPSBOOK_DIR=/nowhere run -1 elsewhere deploy/update-deployment 2.0.0 --backup
  assert_output --partial '127.0.0.1: there is no scripts/backup/backup.ts in /nowhere. Next: install it there: setup-ec2 or setup-droplet'
  rm -r "$APP_DIR/uploads"
  run -1 elsewhere deploy/update-deployment 2.0.0 --backup
  assert_output --partial '--backup on ec2-user@127.0.0.1: '
  assert_output --partial uploads
  sed -i 's/^BACKUP_STORE=.*/BACKUP_STORE=nonsense/' "$APP_DIR/.env"
  run -2 elsewhere deploy/update-deployment 2.0.0 --backup
  assert_output --partial 'BACKUP_STORE=nonsense'
  assert_runs 1.0.0
}

@test "F26: Ctrl-C ends the backup on the host as well, and its exit code is passed on" {
  host_opsbook
  export OPSBOOK_DIR=$APP_DIR/opsbook
  mkdir -p "$OPSBOOK_DIR/node_modules/.bin" "$OPSBOOK_DIR/scripts/backup"
  touch "$OPSBOOK_DIR/scripts/backup/backup.ts"
  printf '%s\n' '#!/bin/sh' 'case $* in *--dry-run*) exit 0 ;; esac' 'exec sleep 76' >"$OPSBOOK_DIR/node_modules/.bin/tsx"
  chmod +x "$OPSBOOK_DIR/node_modules/.bin/tsx"
  elsewhere deploy/update-deployment 2.0.0 --backup >"$BATS_TEST_TMPDIR/out" 2>&1 3>&- &
  PID=$!
  STARTED+=("$PID")
  wait_long sleeps
  pkill -INT -f "scripts/deploy/update-deployment.ts 2.0.0 --backup$"
  assert_ends 130
  wait_for awake
  printf '%s\n' '#!/bin/sh' 'echo "2026-01-01T00:00:00Z backup: error: it runs already. Next: wait" >&2' 'exit 75' \
    >"$OPSBOOK_DIR/node_modules/.bin/tsx"
  run -75 elsewhere deploy/update-deployment 2.0.0 --backup
  assert_output --partial '--backup on ec2-user@127.0.0.1: it runs already. Next: wait'
  assert_runs 1.0.0
}

sleeps() { engine exec "$SANDBOX_HOST_CONTAINER" pgrep -fx 'sleep 76' >/dev/null; }
awake() { ! sleeps; }
engine() { docker ${SANDBOX_DOCKER_HOST:+--host "$SANDBOX_DOCKER_HOST"} "$@"; }

@test "F3: the scripts of backup/ refuse another machine, and what they say to type runs there" {
  host_opsbook
  export BACKUP_STORE=file://$BATS_TEST_TMPDIR/here BACKUP_DIRECTORIES=/etc/cron.d
  mkdir "$BATS_TEST_TMPDIR/here"
  local script
  for script in backup restore list verify prune drill; do
    run -2 --separate-stderr opsbook "../backup/$script"
    assert_regex "$stderr" "TARGET=$TARGET is another machine, and [a-z-]+ works on the one that it is started on"
    assert_regex "$stderr" "Next: run it there: npx tsx scripts/server/remote.ts opsbook backup/$script; to run it on this machine"
  done
  TARGET=ecs://cluster/service run -2 opsbook ../backup/backup --only uploads
  assert_output --partial 'ECS has no host to run it on; to run it on this machine: --target local'
  run -2 opsbook ../backup/backup --target "local,$TARGET"
  run -2 --separate-stderr opsbook ../backup/backup --only uploads --target "$TARGET"
  assert_equal "$(find "$BATS_TEST_TMPDIR/here" -type f)" ""
  assert_equal "$(backups)" ""
  local line
  line=$(sed -n 's/.*run it there: \(.*\); to run it on.*/\1/p' <<<"$stderr")
  assert_equal "$line" "npx tsx scripts/server/remote.ts --target $TARGET opsbook backup/backup --only uploads"
  cd "$REPO"
  PATH="$REPO/node_modules/.bin:$PATH" run -0 --separate-stderr bash -c "$line"
  assert_regex "$(backups)" "/$output/manifest.json$"
  # The code of the host's own: 3, where a check finds a problem.
  run -3 opsbook ../server/remote opsbook backup/list --max-age 0h
  run -0 opsbook ../backup/list --target local
}
