#!/usr/bin/env bats
# Secrets for a host that is reached by SSM alone, which keeps a history of every command.
load secrets

setup_file() {
  (cd "$REPO" && npm run --silent sandbox -- up instance >"$BATS_FILE_TMPDIR/exports")
}

setup() {
  eval "$(cat "$BATS_FILE_TMPDIR/exports")"
  secrets_world
  # Of the instance, not of this machine.
  folder=/opt/secrets-$RANDOM
  on_instance mkdir "$folder"
  ENV+=(APP_DIR="$folder" TARGET="ssm://$SANDBOX_INSTANCE_ID")
  as ADMIN
}

teardown() {
  on_instance rm -rf "$folder"
  curl -fsS -X DELETE "$AWS_ENDPOINT_URL/sandbox/ssm" >/dev/null
}

on_instance() {
  docker ${SANDBOX_DOCKER_HOST:+--host "$SANDBOX_DOCKER_HOST"} exec -i "$SANDBOX_INSTANCE_CONTAINER" "$@"
}

@test "by SSM: the file is written on the instance, and no value is in a command or in a parameter that stays" {
  secret "{\"A\": \"hush-'quoted' \$1\", \"BIG\": \"hush-$(head -c 9000 /dev/zero | tr '\0' x)\"}"
  run --separate-stderr opsbook server/fetch-secrets
  assert_success
  assert_output $'+ A\n+ BIG'
  run -0 on_instance cat "$folder/.env"
  assert_line "A=\"hush-'quoted' \\\$1\""
  assert_equal "$(wc -c <<<"${lines[2]}")" 9010
  assert_equal "$(on_instance stat -c '%a %U' "$folder/.env")" '600 root'
  # The file and the containers are read back, encrypted (test/lib/secret-output.test.ts).
  on_instance sh -c 'cat >"$1/docker-compose.yml"' _ "$folder" <<<'services: { web: { image: sandbox/nginx:1.26, init: true, entrypoint: [sleep, infinity], env_file: .env } }'
  on_instance docker compose --project-directory "$folder" up --detach --quiet-pull >/dev/null 2>&1
  run --separate-stderr opsbook server/fetch-secrets --check
  on_instance docker compose --project-directory "$folder" down --timeout 0 >/dev/null 2>&1
  assert_equal "$output" 'the store, the file and the containers agree'
  # Scripts are in the history in base64.
  aws_cli ssm list-commands --output json >"$BATS_TEST_TMPDIR/history"
  run ! grep hush "$BATS_TEST_TMPDIR/history"
  run -0 bash -c 'grep -oE "[A-Za-z0-9+/]{40,}=*" "$1" | while read -r text; do base64 -d <<<"$text"; echo; done' _ "$BATS_TEST_TMPDIR/history"
  assert_output --partial "write $folder/.env"
  refute_output --partial hush
  run -0 aws_cli ssm describe-parameters --parameter-filters Key=Path,Option=Recursive,Values=/opsbook --query 'Parameters[].Name' --output text
  assert_output ''
}
