#!/usr/bin/env bats
# Without a rollout, behind the plainest nginx: a version that crashes leaves nginx nothing to look up, and is undone all the same.
bats_require_minimum_version 1.5.0

load world

setup_file() {
  app_up nginx-plain
  unset ROLLOUT_SERVICES
  image sound 1.1.0
  image crashing 2.0.0 'ENTRYPOINT ["/bin/false"]'
}

teardown_file() { app_down; }
# What a failed version brought is removed with it.
setup() {
  docker tag "$IMAGE:sound" "$IMAGE:1.1.0"
  docker tag "$IMAGE:crashing" "$IMAGE:2.0.0"
  app_reset
}
teardown() { end_started; }

crash_is_undone() {
  run -0 opsbook update-deployment 1.1.0
  run -1 --separate-stderr opsbook update-deployment 2.0.0
  [[ $stderr == *"error: 2.0.0 failed and 1.1.0 runs again: "* ]] || fail "$stderr"
  assert_runs 1.1.0
  run -0 opsbook rollback --yes
  assert_runs 1.0.0
}

@test "R2: a crash loop behind an nginx that names it is undone, and a rollback works afterwards" {
  crash_is_undone
}

@test "R2: and where Compose restarts nginx with it, so that nginx is down as well" {
  printf 'services: { proxy: { depends_on: { web: { condition: service_started, restart: true } } } }\n' >"$APP_DIR/restart.yml"
  COMPOSE_FILE=$COMPOSE_FILE:restart.yml crash_is_undone
}

@test "R2: what runs crashes already, and nginx names it: the version that mends it is deployed, by a rollout too" {
  docker tag "$IMAGE:1.0.0" "$IMAGE:first"
  docker tag "$IMAGE:crashing" "$IMAGE:1.0.0"
  compose up --detach >/dev/null 2>&1
  docker tag "$IMAGE:first" "$IMAGE:1.0.0"
  wait_for down
  ROLLOUT_SERVICES=web run -0 --separate-stderr opsbook update-deployment 1.1.0
  assert_runs 1.1.0
}

down() { [ "$(docker inspect --format '{{.State.Status}}' "$APP-web-1")" = exited ]; }

salt() { docker exec "$APP-web-1" printenv SALT; }

# The compose files in a directory of their own, and a value that they have another of for development.
in_deploy() {
  mkdir -p "$APP_DIR/deploy"
  cp "$APP_DIR"/*.yml "$APP_DIR"/*.conf "$APP_DIR/app.env" "$APP_DIR/deploy"
  sed -i 's/^    environment: &environment/&\n      SALT: ${SALT:-of-development}/' "$APP_DIR/deploy/docker-compose.yml"
  export COMPOSE_FILE=deploy/docker-compose.yml:deploy/proxy.yml
}

@test "R3: compose files in deploy/, values in the .env of APP_DIR: deployed, and started at boot, with them" {
  in_deploy
  echo 'SALT=of-production' >>"$APP_DIR/.env"
  compose --env-file .env up --detach --wait >/dev/null 2>&1
  run -0 opsbook update-deployment 1.1.0
  assert_equal "$(salt)" of-production
  (set -a && . "$APP_DIR/.opsbook/deployed.env" && cd "$APP_DIR" && docker compose up --detach --force-recreate --wait web >/dev/null 2>&1)
  assert_runs 1.1.0
  assert_equal "$(salt)" of-production
}

@test "R3, F27: SECRETS_FILE is what every compose command reads; without it the deployment is refused, by names and not by values" {
  in_deploy
  printf "IMAGE='%s'\nSALT=of-production\n" "$IMAGE" >"$APP_DIR/deploy/.env.production"
  compose --env-file deploy/.env.production up --detach --wait >/dev/null 2>&1
  local before
  before=$(docker ps --quiet --no-trunc)
  run -2 --separate-stderr opsbook update-deployment 1.1.0
  [[ $stderr == *"web would start with another SALT than it runs with"* ]] || fail "$stderr"
  [[ $stderr != *of-production* && $stderr != *of-development* ]] || fail "$stderr"
  assert_equal "$(docker ps --quiet --no-trunc)" "$before"
  SECRETS_FILE=deploy/.env.production run -0 opsbook update-deployment 1.1.0
  assert_equal "$(salt)" of-production
  # As a person starts it: the file has the version too.
  (cd "$APP_DIR" && env --unset=COMPOSE_FILE docker compose --env-file deploy/.env.production up --detach --force-recreate --wait web >/dev/null 2>&1)
  assert_runs 1.1.0
  assert_equal "$(salt)" of-production
  run -0 opsbook update-deployment 1.1.0 --new-environment
  assert_equal "$(salt)" of-development
}
