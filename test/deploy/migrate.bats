#!/usr/bin/env bats
# A migration in a container of its own: told line by line, once at a time, and what fails has failed.
bats_require_minimum_version 1.5.0

load world

setup_file() {
  app_up nginx
  image 2.0.0
}

teardown_file() { app_down; }

setup() {
  export MIGRATE_COMMAND='echo from version $APP_VERSION; echo to stderr >&2'
  app_reset
}

teardown() {
  end_started
  migrations --all | xargs -r docker rm --force >/dev/null
}

migrate() { opsbook migrate "$@"; }

# The containers of migrations.
migrations() { docker ps --quiet "$@" --filter "name=-migrate-" --filter "label=com.docker.compose.project=$APP"; }

migration_runs() { [ -n "$(migrations)" ]; }

# Runs a migration in the background; PID is the script's own.
start_migration() {
  ERR=$BATS_TEST_TMPDIR/err
  (cd "$BATS_TEST_TMPDIR" && exec "$NODE" "$REPO/scripts/deploy/migrate.ts" "$@") >/dev/null 2>"$ERR" 3>&- &
  PID=$!
  STARTED+=("$PID")
}

# Nothing of a migration is left, and what ran before runs.
assert_left_alone() {
  assert_equal "$(migrations --all)" ""
  assert_runs 1.0.0
}

@test "the command runs with the image of the version, beside what runs, and each line is told" {
  run -0 --separate-stderr migrate 2.0.0 --json
  assert_regex "$output" "^\{\"version\":\"2.0.0\",\"image\":\"$IMAGE:2.0.0\",\"ms\":[0-9]+\}$"
  assert_regex "$stderr" 'Z migrate: from version 2.0.0'
  assert_regex "$stderr" 'Z migrate: to stderr'
  assert_left_alone
}

@test "without a version the image is that of what runs" {
  run -0 --separate-stderr migrate
  assert_regex "$stderr" 'Z migrate: from version 1.0.0'
  assert_output 'migrated with 1.0.0'
}

@test "it has the settings and the network of the service" {
  export MIGRATE_COMMAND='node -e "fetch(\"http://web:8000/api/version\").then((r) => r.text()).then((t) => console.log(\"saw\", t))"'
  run -0 --separate-stderr migrate 2.0.0
  assert_regex "$stderr" 'saw .*1\.0\.0'
}

@test "✗ echo 'Migrations complete' after a failed migration: a migration that fails is a failure" {
  export MIGRATE_COMMAND='echo "relation users does not exist" >&2; exit 7'
  run -1 --separate-stderr migrate 2.0.0
  assert_output ""
  assert_regex "$stderr" 'error: the migration .* exited with 7: relation users does not exist'
  assert_left_alone
}

@test "a migration by itself is remembered: going back over it is told, and is possible" {
  run -0 migrate 2.0.0
  MIGRATE_COMMAND='' run -0 opsbook update-deployment 2.0.0
  run -0 migrate
  MIGRATE_COMMAND='exit 7' run -1 migrate
  run -0 opsbook list-deployments
  assert_line --regexp '^ +2\.0\.0 .* migrate +failed: .*exited with 7'
  assert_line --regexp '^ +2\.0\.0 .* migrate +done after .* yes'
  assert_line --regexp '^\* +2\.0\.0 .* update +verified'
  run -0 --separate-stderr opsbook rollback --yes
  assert_regex "$stderr" '2\.0\.0 migrated the database since: .* no backup was taken before it'
  assert_runs 1.0.0
}

@test "a migration that hangs is ended after MIGRATE_TIMEOUT, and its container removed" {
  MIGRATE_TIMEOUT=1 MIGRATE_COMMAND='echo begun; sleep 600' run -1 --separate-stderr migrate 2.0.0
  assert_regex "$stderr" 'error: the migration .* did not end within 1.0 s \(MIGRATE_TIMEOUT\), and was ended'
  assert_left_alone
}

@test "SIGTERM ends the migration and removes its container" {
  MIGRATE_COMMAND='echo begun; sleep 600' start_migration 2.0.0
  wait_for grep -q begun "$ERR"
  kill "$PID"
  assert_ends 143
  assert_left_alone
}

@test "a migration whose docker client is ended by somebody else, which then exits with 0, has not ended well" {
  MIGRATE_COMMAND='echo begun; sleep 600' start_migration 2.0.0
  wait_for grep -q begun "$ERR"
  pkill -TERM --parent "$PID" docker
  assert_ends 1
  assert_left_alone
}

@test "two migrations do not run at once: the second names the first" {
  MIGRATE_COMMAND='echo begun; sleep 600' start_migration 2.0.0
  wait_for grep -q begun "$ERR"
  run -75 --separate-stderr migrate 2.0.0
  assert_regex "$stderr" "error: migrate has been running for .* \(process $PID of "
}

@test "a version that is not there, no command, and a service without an image of ours are told before anything runs" {
  run -1 --separate-stderr migrate 9.9.9
  assert_regex "$stderr" "error: $IMAGE:9.9.9"
  MIGRATE_COMMAND= run -2 --separate-stderr migrate 2.0.0
  assert_regex "$stderr" 'error: MIGRATE_COMMAND is not set. Next: set it'
  APP_SERVICE=proxy run -2 --separate-stderr migrate 2.0.0
  assert_regex "$stderr" 'error: MIGRATE_COMMAND runs in APP_SERVICE=proxy, which is not one of'
  assert_left_alone
}

@test "--dry-run shows what would run, and runs nothing" {
  run -0 --separate-stderr migrate 2.0.0 --dry-run
  assert_output ""
  assert_regex "$stderr" 'would: migrate with 2.0.0'
  assert_regex "$stderr" 'echo from version'
  refute_regex "$stderr" 'Z migrate: from version 2'
  assert_left_alone
}
