#!/usr/bin/env bats
# A deployment that is refused, cut off, or met by another one: one version runs, and the next run knows which.
bats_require_minimum_version 1.5.0

load world

setup_file() {
  app_up nginx
  image 2.0.0
}

teardown_file() { app_down; }
setup() { app_reset; }
teardown() { end_started; }

# A Docker that does not answer when it is asked for $1, until there is $BATS_TEST_TMPDIR/go.
slow_docker() {
  mkdir -p "$BATS_TEST_TMPDIR/bin"
  cat >"$BATS_TEST_TMPDIR/bin/docker" <<SH
#!/bin/sh
case "\$*" in $1) touch '$BATS_TEST_TMPDIR/asked'; while [ ! -e '$BATS_TEST_TMPDIR/go' ] && kill -0 \$PPID; do sleep 0.05; done ;; esac
exec $(command -v docker) "\$@"
SH
  chmod +x "$BATS_TEST_TMPDIR/bin/docker"
}

# Starts an update to 2.0.0 and waits until it asks Docker for $1.
update_until() {
  slow_docker "$1"
  PATH="$BATS_TEST_TMPDIR/bin:$PATH" "$NODE" "$REPO/scripts/deploy/update-deployment.ts" 2.0.0 \
    >"$BATS_TEST_TMPDIR/out" 2>"$BATS_TEST_TMPDIR/err" 3>&- &
  PID=$!
  STARTED+=("$PID")
  wait_long test -e "$BATS_TEST_TMPDIR/asked"
}

@test "everything that would fail is found before anything is changed, and told together" {
  tar --create --files-from /dev/null | docker import --platform linux/s390x - "$IMAGE:7.0.0" >/dev/null
  local before
  before=$(docker ps --quiet --no-trunc)
  ROLLOUT_SERVICES=proxy,nginx VERSION_URL=$HEALTH_URL HEALTH_URL=$APP_URL/no-such-page MIGRATE_COMMAND=x APP_SERVICE=db \
    run -2 --separate-stderr opsbook update-deployment 7.0.0
  [[ $stderr == *"is for linux/s390x, and the host is linux/"* ]] || fail "$stderr"
  [[ $stderr == *"ROLLOUT_SERVICES: nginx is not a service"* ]] || fail "$stderr"
  [[ $stderr == *"APP_SERVICE=db, which is not one of web, worker"* ]] || fail "$stderr"
  [[ $stderr == *"HEALTH_URL: $APP_URL/no-such-page answers 404"* ]] || fail "$stderr"
  assert_equal "$(docker ps --quiet --no-trunc)" "$before"
}

@test "a service with a port of the host is refused for ROLLOUT_SERVICES" {
  compose --file "$APP_DIR/docker-compose.yml" config --quiet
  printf 'services: { worker: { ports: ["8443:80"], healthcheck: { test: [CMD, "true"] } } }\n' >"$APP_DIR/port.yml"
  COMPOSE_FILE=docker-compose.yml:proxy.yml:port.yml ROLLOUT_SERVICES=worker run -2 --separate-stderr opsbook update-deployment 2.0.0
  [[ $stderr == *"worker has the host's port 8443: two containers cannot share it"* ]] || fail "$stderr"
}

@test "--diff and --dry-run change nothing, and show the commands that would run" {
  run -0 --separate-stderr opsbook update-deployment 2.0.0 --diff
  [[ $stderr =~ web\ +$IMAGE:1.0.0\ +$IMAGE:2.0.0 ]] || fail "$stderr"
  run -0 --separate-stderr opsbook update-deployment 2.0.0 --dry-run
  [[ $stderr == *"docker compose up --detach --no-recreate --quiet-pull --scale web=2 web"* ]] || fail "$stderr"
  [ ! -e "$APP_DIR/.opsbook/deployed.yml" ]
  assert_runs 1.0.0
}

@test "a second deployment at the same time is told who deploys what; one that is interrupted goes back" {
  export HEALTHY_FOR=300
  update_until '*--scale*'
  touch "$BATS_TEST_TMPDIR/go"
  HEALTHY_FOR=1 run -75 --separate-stderr opsbook rollback --yes
  [[ $stderr =~ update-deployment\ of\ 2\.0\.0\ has\ been\ running\ for\ .*process\ $PID\ of ]] || fail "$stderr"
  kill "$PID"
  wait_long gone "$PID"
  assert_ends 143
  assert_runs 1.0.0
}

@test "killed while the new container proves itself: the old version runs, and the next run leads on" {
  export HEALTHY_FOR=300
  update_until '*--scale*'
  touch "$BATS_TEST_TMPDIR/go"
  wait_long runs_beside
  kill -KILL "$PID"
  assert_equal "$(plain_compose config --images | sort | uniq | grep -c ':1.0.0$')" 1
  HEALTHY_FOR=1 run -0 --separate-stderr opsbook update-deployment 2.0.0
  [[ $stderr == *"died without finishing; its lock was taken over"* ]] || fail "$stderr"
  [[ $stderr == *"the change to 2.0.0, begun "*" was cut off: web runs 1.0.0 and "* ]] || fail "$stderr"
  assert_runs 2.0.0
}

runs_beside() { [[ $(running) == *:2.0.0* ]]; }

@test "killed between the old version and the new: the next run says so, and a rollback leads back" {
  update_until 'stop*'
  kill -KILL "$PID"
  assert_equal "$(plain_compose config --images | sort | uniq | grep -c ':2.0.0$')" 1
  run -0 --separate-stderr opsbook list-deployments
  [[ $stderr == *"the change to 2.0.0, begun "*" was cut off: web runs "*" and "* ]] || fail "$stderr"
  run -0 opsbook rollback --yes
  assert_runs 1.0.0
  run -0 --separate-stderr opsbook list-deployments
  [[ $stderr != *"cut off"* ]] || fail "$stderr"
}
