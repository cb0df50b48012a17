#!/usr/bin/env bats
# The backup steps of chitram's runbook, on its own droplet: PostgreSQL, and a bucket of an object store that only the
# compose network reaches.
bats_require_minimum_version 1.5.0

REPO=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)
load "$REPO/node_modules/bats-support/load"
load "$REPO/node_modules/bats-assert/load"

setup_file() {
  npm --prefix "$REPO" run --silent sandbox -- up chitram >/dev/null
  eval "$(npm --prefix "$REPO" run --silent sandbox -- env chitram)"
  local n
  for n in 1 2 3 4 5; do
    head -c 30000 /dev/urandom | curl -fsS --data-binary @- "$SANDBOX_URL/uploads/picture%20$n.png"
  done
}

# Runs a script on the droplet as its user would, with the store credentials of "writer" or "reader".
droplet() {
  local role=$1 script=$2
  shift 2
  local id=$AWS_ACCESS_KEY_ID secret=$AWS_SECRET_ACCESS_KEY
  [ "$role" = writer ] || id=$SANDBOX_READER_ACCESS_KEY_ID secret=$SANDBOX_READER_SECRET_ACCESS_KEY
  docker ${SANDBOX_DOCKER_HOST:+--host "$SANDBOX_DOCKER_HOST"} exec --user deploy \
    --env PATH="$REPO/node_modules/.bin:/usr/bin:/bin" --env APP="$APP" --env APP_DIR="$APP_DIR" \
    --env BACKUP_STORE="$BACKUP_STORE" --env BACKUP_DATABASES="$BACKUP_DATABASES" \
    --env BACKUP_BUCKETS='images?endpoint=compose://storage:9000' \
    --env BUCKET_ACCESS_KEY_ID="$SANDBOX_STORAGE_ACCESS_KEY_ID" \
    --env BUCKET_SECRET_ACCESS_KEY="$SANDBOX_STORAGE_SECRET_ACCESS_KEY" \
    --env AWS_ENDPOINT_URL="$SANDBOX_INSIDE_AWS_ENDPOINT_URL" --env AWS_REGION="$AWS_REGION" \
    --env AWS_ACCESS_KEY_ID="$id" --env AWS_SECRET_ACCESS_KEY="$secret" \
    "$SANDBOX_HOST_CONTAINER" tsx "$REPO/scripts/backup/$script.ts" "$@"
}

pictures() {
  local n
  for n in 1 2 3 4 5; do
    curl -fsS "$SANDBOX_URL/uploads/picture%20$n.png" | sha256sum
  done
}

@test "the bucket comes back object by object, and a drill proves it before that" {
  local before
  before=$(pictures)
  run -0 droplet writer backup
  run -0 droplet writer backup
  assert_output --partial 'new: 0 contents'
  run -0 droplet reader drill
  assert_output --regexp 'bucket +images .*equal'

  # Overwritten through the app, as a broken release would.
  echo broken | curl -fsS --data-binary @- "$SANDBOX_URL/uploads/picture%201.png"
  run -0 droplet reader restore --yes --only images
  assert_equal "$(pictures)" "$before"

  run -0 droplet reader restore --undo --yes
  assert_equal "$(curl -fsS "$SANDBOX_URL/uploads/picture%201.png")" broken
}

@test "the host's freshness check needs no right to read" {
  run -0 droplet writer list --max-age 1h
  run -3 droplet writer list --max-age 0m
}
