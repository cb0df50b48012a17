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
