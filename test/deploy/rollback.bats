#!/usr/bin/env bats
# Going back: to what was seen to work, and not merely to what was there before.
bats_require_minimum_version 1.5.0

load world

setup_file() {
  app_up nginx
  unset ROLLOUT_SERVICES
  image 2.0.0
}

teardown_file() { app_down; }
setup() { app_reset; }

@test "without an argument, to the last version that was verified" {
  image 3.0.0 3.0.0 'CMD ["-e", "process.exit(7)"]'
  run -0 opsbook update-deployment 2.0.0
  run -1 opsbook update-deployment 3.0.0
  assert_runs 2.0.0
  run -0 --separate-stderr opsbook rollback --yes
  assert_runs 1.0.0
  assert_equal "$(records did version from verified | tail -1)" "rollback 1.0.0 2.0.0 true"
  # Again: 2.0.0 is verified too, and newer than what runs.
  run -0 opsbook rollback --yes
  assert_runs 2.0.0
}

@test "--to names a version, and one that was never verified is refused" {
  run -0 opsbook update-deployment 2.0.0
  run -1 --separate-stderr opsbook rollback --to 3.0.0 --yes
  [[ $stderr == *"no deployment of 3.0.0 was verified here"*"choose one of: 2.0.0, 1.0.0"* ]] || fail "$stderr"
  run -0 opsbook rollback --to 1.0.0 --yes
  assert_runs 1.0.0
}

@test "an image that is gone is refused before anything is touched" {
  image 1.5.0
  run -0 opsbook update-deployment 1.5.0
  run -0 opsbook update-deployment 2.0.0
  docker rmi "$IMAGE:1.5.0" >/dev/null
  local before
  before=$(docker ps --quiet --no-trunc)
  run -1 --separate-stderr opsbook rollback --to 1.5.0 --yes
  [[ $stderr == *"$IMAGE:1.5.0, is not on "*" any more"* ]] || fail "$stderr"
  assert_equal "$(docker ps --quiet --no-trunc)" "$before"
}

@test "a tag that was moved since is given back to the image that ran" {
  image 1.6.0
  run -0 opsbook update-deployment 1.6.0
  local id
  id=$(docker inspect --format '{{.Image}}' "$APP-web-1")
  run -0 opsbook update-deployment 2.0.0
  docker tag "$IMAGE:2.0.0" "$IMAGE:1.6.0"
  # The engine removes what no tag names only when it is told to.
  run -0 opsbook rollback --to 1.6.0 --yes
  assert_runs 1.6.0
  assert_equal "$(docker image inspect --format '{{.Id}}' "$IMAGE:1.6.0")" "$id"
}

@test "migrations in between are told, with the backup that was taken then" {
  run -0 opsbook update-deployment 2.0.0
  sed -i 's/"version":"2.0.0","images"\(.*\)"migrated":false/"version":"2.0.0","images"\1"backup":"20261121-070000","migrated":true/' \
    "$APP_DIR/.opsbook/deployments.jsonl"
  run -0 --separate-stderr opsbook rollback --dry-run
  [[ $stderr == *"2.0.0 migrated the database since"*"20261121-070000"* ]] || fail "$stderr"
  assert_runs 2.0.0
}

@test "without a terminal and without --yes it refuses" {
  run -0 opsbook update-deployment 2.0.0
  run -2 --separate-stderr opsbook rollback
  assert_runs 2.0.0
}

@test "with nothing to go back to it says so" {
  run -1 --separate-stderr opsbook rollback --yes
  [[ $stderr == *"no earlier deployment was verified here"* ]] || fail "$stderr"
}
