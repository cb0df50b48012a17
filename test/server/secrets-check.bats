#!/usr/bin/env bats
# What differs between the store, the env file and the containers that run; and what a fetch has to do with them.
load secrets

setup_file() {
  export PROJECT="drift-$RANDOM"
}

setup() {
  secrets_world
  ENV+=(COMPOSE_PROJECT_NAME="$PROJECT")
  cat >"$APP_DIR/docker-compose.yml" <<'YAML'
services:
  web: { image: sandbox/redis:8, command: sleep infinity, init: true, environment: { URL: "x:${A}" } }
  worker: { image: sandbox/redis:8, command: sleep infinity, init: true, env_file: .env }
  cache: { image: sandbox/redis:8, command: [sh, -c, 'sleep infinity # ${B}'], init: true }
  other: { image: sandbox/redis:8, command: sleep infinity, init: true }
YAML
}

teardown() {
  project down --timeout 0 >/dev/null 2>&1
  [ -z "${PAGES_PID:-}" ] || kill "$PAGES_PID"
}

project() { env -u COMPOSE_FILE -u APP docker compose --project-name "$PROJECT" --project-directory "$APP_DIR" "$@"; }

fetch() { run --separate-stderr opsbook server/fetch-secrets "$@"; }

@test "a fetch tells which services have to be recreated; --check sees them until they are, and a restart is not enough" {
  secret '{"A": "a-hush$1", "B": "b-hush"}'
  fetch
  assert_success
  project up --detach >/dev/null 2>&1
  fetch --check
  assert_success
  assert_output 'the store, the file and the containers agree'

  aws_cli secretsmanager put-secret-value --secret-id "$SECRET" --secret-string '{"A": "a2-hush$1", "B": "b-hush", "C": "c-hush"}' >/dev/null
  fetch --check --json
  assert_failure 3
  assert_output '{"file":"'"$APP_DIR"'/.env","drift":[{"where":"'"$APP_DIR"'/.env","name":"A","what":"differs from the store"},{"where":"'"$APP_DIR"'/.env","name":"C","what":"is not in the file"}]}'
  assert_regex "$stderr" '2 differences between .*Next: run fetch-secrets without --check'

  fetch
  assert_success
  assert_regex "$stderr" "web, worker still run with what the file said before. Next: cd $APP_DIR && COMPOSE_PROJECT_NAME=$PROJECT docker compose up --detach web worker"
  project restart --timeout 0 >/dev/null 2>&1
  fetch --check
  assert_failure 3
  assert_line --regexp '^web +URL +the container has a different value$'
  assert_line --regexp '^worker +A '
  assert_line --regexp '^worker +C '
  refute_line --regexp '^(cache|other) '
  refute_regex "$output$stderr" hush

  project up --detach web worker >/dev/null 2>&1
  fetch --check
  assert_success
}

@test "a secret in a command line is seen as well" {
  secret '{"A": "a", "B": "b"}'
  fetch
  project up --detach >/dev/null 2>&1
  aws_cli secretsmanager put-secret-value --secret-id "$SECRET" --secret-string '{"A": "a", "B": "b2"}' >/dev/null
  fetch --json
  assert_success
  assert_output --partial '"recreate":["cache","worker"]'
}

@test "generated secrets too are told to be of no use to a container that runs already" {
  ENV+=(SECRETS_FROM=)
  printf 'A=${A}\nB=b\n' | template
  echo A=a >"$APP_DIR/.env"
  project up --detach >/dev/null 2>&1
  printf 'A=${A}\nB=${generate:hex:16}\n' | template
  run --separate-stderr opsbook server/generate-secrets --json
  assert_success
  assert_output '{"names":{"B":"+"},"recreate":["cache","worker"]}'
  assert_regex "$stderr" 'cache, worker still run with what the file said before'
}

@test "a file that others may read, and an app that does not run: --check says it of the file" {
  secret '{"A": "a"}'
  fetch
  chmod 640 "$APP_DIR/.env"
  fetch --check
  assert_failure 3
  assert_line --partial '(mode)  users other than its owner may read it'
}

@test "a folder that is no compose app is only checked against the store" {
  rm "$APP_DIR/docker-compose.yml"
  secret '{"A": "a"}'
  fetch
  assert_success
  refute_regex "$stderr" 'warning'
  fetch --check
  assert_success
}

@test "Parameter Store pages that are empty but continue are read to the end (a stand-in for AWS)" {
  rm "$APP_DIR/docker-compose.yml"
  coproc PAGES { exec "$NODE" "$REPO/test/server/parameter-pages.ts" 3>&-; }
  local url
  read -r url <&"${PAGES[0]}"
  ENV+=(AWS_ENDPOINT_URL="$url" SECRETS_FROM=ssm:/spotter-app/)
  fetch
  assert_success
  assert_output $'+ ONE\n+ TWO'
  assert_equal "$(compose_reads TWO)" value-of-TWO
}

@test "both kinds of store together make one file" {
  rm "$APP_DIR/docker-compose.yml"
  secret '{"A": "of-the-secret"}'
  parameter B 'of-{the-path}'
  ENV+=(SECRETS_FROM="secretsmanager:$SECRET,ssm:$PARAMETERS/")
  fetch
  assert_success
  assert_equal "$(compose_reads A) $(compose_reads B)" 'of-the-secret of-{the-path}'
}

@test "without SECRETS_FROM, with one that is none, and with a template that is not there: exit 2" {
  ENV+=(SECRETS_FROM=)
  fetch
  assert_failure 2
  assert_regex "$stderr" 'SECRETS_FROM is not set'
  ENV+=(SECRETS_FROM=vault:x)
  fetch
  assert_failure 2
  assert_regex "$stderr" '"vault:x" is neither secretsmanager:NAME nor ssm:/PATH/'
  ENV+=(SECRETS_FROM=ssm:/x/ SECRETS_TEMPLATE=deploy/env.template)
  fetch
  assert_failure 2
  assert_regex "$stderr" "$APP_DIR/deploy/env.template is not there"
}

@test "from another machine, by ssh: the file is written there by the user of the target" {
  local folder=${SANDBOX_APP_DIR}/t$RANDOM
  ssh-keyscan -p "${SANDBOX_SSH##*:}" 127.0.0.1 >"$BATS_TEST_TMPDIR/known_hosts" 2>/dev/null
  docker ${SANDBOX_DOCKER_HOST:+--host "$SANDBOX_DOCKER_HOST"} exec --user ec2-user "$SANDBOX_HOST_CONTAINER" mkdir "$folder"
  secret "{\"A\": \"a'b\\\"c \$d\"}"
  ENV+=(
    APP_DIR="$folder" TARGET="ssh://$SANDBOX_SSH" SSH_IDENTITY_FILE="$SANDBOX_SSH_KEY"
    SSH_KNOWN_HOSTS="$BATS_TEST_TMPDIR/known_hosts"
  )
  fetch
  assert_success
  assert_equal "$(cat "$folder/.env" | tail -1)" 'A="a'"'"'b\"c \$d"'
  assert_equal "$(stat -c '%a %u' "$folder/.env")" "600 $(stat -c %u "$folder")"
  rm -r "$folder"
}
