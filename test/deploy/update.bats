#!/usr/bin/env bats
# A deployment that works, and those that do not: what runs afterwards is one version, and it answers.
bats_require_minimum_version 1.5.0

load world

setup_file() { app_up nginx; }
teardown_file() { app_down; }
teardown() { end_started; }

setup() { app_reset; }

@test "a version is switched to, seen to answer, and recorded with what ran before" {
  image 2.0.0
  run -0 --separate-stderr opsbook update-deployment 2.0.0
  assert_runs 2.0.0
  assert_equal "$(records did version from verified)" "found 1.0.0 - true
update 2.0.0 1.0.0 true"
}

@test "plain docker compose, as at boot, runs the version that was deployed; ✗ sed -i .env: its other lines are as they were" {
  image 2.0.0
  echo "ODD='a\$b|c&d'" >>"$APP_DIR/.env"
  local before env
  env=$(<"$APP_DIR/.env")
  run -0 opsbook update-deployment 2.0.0
  assert_equal "$(grep -v '^COMPOSE_FILE=' "$APP_DIR/.env")" "$env"
  before=$(docker ps --quiet --no-trunc)
  run -0 plain_compose up --detach
  assert_equal "$(docker ps --quiet --no-trunc)" "$before"
  # The unit that starts the app at boot reads this over the COMPOSE_FILE that it was made with.
  (set -a && . "$APP_DIR/.opsbook/deployed.env" && cd "$APP_DIR" && docker compose up --detach --force-recreate --wait >/dev/null 2>&1)
  assert_runs 2.0.0
}

@test "DRAIN_COMMAND runs in the old container before it is stopped" {
  image 2.0.0
  local old
  old=$(docker ps --quiet --filter "label=com.docker.compose.project=$APP" --filter label=com.docker.compose.service=web)
  DRAIN_COMMAND='curl -s "http://proxy/drained-by-$(hostname)"' run -0 opsbook update-deployment 2.0.0
  run -0 docker logs "$APP-proxy-1"
  assert_output --partial "GET /drained-by-$old"
}

@test "✗ a rollback that starts the broken image again: one that crashes is taken back to what ran, its last words are shown" {
  image 3.0.0 3.0.0 'CMD ["-e", "console.error(`no such table: meals`); process.exit(7)"]'
  run -1 --separate-stderr opsbook update-deployment 3.0.0
  [[ $stderr == *"no such table: meals"* ]] || fail "$stderr"
  [[ $stderr == *"error: 3.0.0 failed and 1.0.0 runs again: "*crashed* ]] || fail "$stderr"
  assert_runs 1.0.0
  assert_equal "$(records version verified returnedTo)" "1.0.0 true -
3.0.0 false 1.0.0"
}

@test "✗ a health loop that cannot tell old from new: an image that answers with the old version is taken back" {
  image 4.0.0 1.0.0
  run -1 --separate-stderr opsbook update-deployment 4.0.0
  [[ $stderr == *"answers 1.0.0, not 4.0.0"* ]] || fail "$stderr"
  assert_runs 1.0.0
}

web() { docker ps --all --quiet --no-trunc --filter "label=com.docker.compose.project=$APP" --filter label=com.docker.compose.service=web; }

@test "F20: the same version again starts nothing, and with another value in env_file a new container beside the old" {
  run -0 opsbook update-deployment 1.0.0
  local before
  before=$(web)
  run -0 opsbook update-deployment 1.0.0
  assert_equal "$(web)" "$before"
  echo GREETING=bye >"$APP_DIR/app.env"
  run -2 --separate-stderr opsbook update-deployment 1.0.0
  [[ $stderr == *"web would start with another GREETING than it runs with"* ]] || fail "$stderr"
  start_load
  run -0 opsbook update-deployment 1.0.0 --new-environment
  assert_none_dropped 1.0.0
  assert_equal "$(docker exec "$(web)" printenv GREETING)" bye
}

@test "F20: a mistake in env_file that no version survives: what it started is removed, and what ran is left alone" {
  run -0 opsbook update-deployment 1.0.0 --new-environment
  image 5.0.0
  local before
  before=$(docker ps --all --quiet --no-trunc --filter "label=com.docker.compose.project=$APP")
  echo NODE_OPTIONS=--no-such-option >>"$APP_DIR/app.env"
  run -1 --separate-stderr opsbook update-deployment 5.0.0 --new-environment
  [[ $stderr == *"5.0.0 failed and 1.0.0 runs again"* ]] || fail "$stderr"
  assert_equal "$(docker ps --all --quiet --no-trunc --filter "label=com.docker.compose.project=$APP")" "$before"
  sed -i /NODE_OPTIONS/d "$APP_DIR/app.env"
}
