#!/usr/bin/env bats
# Rotating secrets of an app that runs: a PostgreSQL server, a service that logs in to it, and one with a token.
load secrets

setup_file() {
  export PROJECT="rotate-$RANDOM" PROJECT_DIR=$BATS_FILE_TMPDIR/app
  mkdir "$PROJECT_DIR"
  cat >"$PROJECT_DIR/docker-compose.yml" <<'YAML'
services:
  db:
    image: sandbox/postgres:17
    command: postgres -c fsync=off -c log_statement=all
    init: true
    environment: { POSTGRES_USER: bloaty, POSTGRES_DB: app, POSTGRES_PASSWORD: "${POSTGRES_PASSWORD}" }
    healthcheck: { test: [CMD, pg_isready, -h, 127.0.0.1, -U, bloaty], interval: 1s, start_interval: 100ms, start_period: 30s }
  web:
    image: sandbox/postgres:17
    command: sleep infinity
    init: true
    environment: { DATABASE_URL: "${DATABASE_URL}" }
    healthcheck: { test: 'psql "$$DATABASE_URL" -c "SELECT 1"', interval: 1s, retries: 5, start_interval: 100ms, start_period: 5s }
  picky:
    image: sandbox/redis:8
    command: sleep infinity
    init: true
    env_file: .env
    healthcheck: { test: '[ "$$SESSION_KEY" != "" ] && [ "$$TOKEN" = of-old ]', interval: 1s, retries: 1, start_interval: 100ms }
YAML
  cat >"$PROJECT_DIR/.env.template" <<'ENV'
POSTGRES_PASSWORD=${generate:hex:16}
DATABASE_URL=postgresql+psycopg://bloaty:${POSTGRES_PASSWORD|urlencode}@db:5432/app
SESSION_KEY=${generate:base64url:32}
TOKEN=${generate:hex:16}
API_KEY=${API_KEY}
ENV
  sed -i 's/+psycopg//' "$PROJECT_DIR/.env.template"
  printf '%s\n' 'POSTGRES_PASSWORD="of-old/#1"' 'DATABASE_URL="postgresql://bloaty:of-old%2F%231@db:5432/app"' \
    SESSION_KEY=session-of-old TOKEN=of-old API_KEY=of-issuer >"$PROJECT_DIR/.env"
  project up --detach --wait db >/dev/null 2>&1
  project up --detach --wait >/dev/null 2>&1
}

teardown_file() { project down --volumes --timeout 0 >/dev/null 2>&1; }

setup() {
  secrets_world
  APP_DIR=$PROJECT_DIR
  ENV+=(APP_DIR="$APP_DIR" COMPOSE_PROJECT_NAME="$PROJECT")
  as SECRETS_WRITER
  secret "$(as_json)"
}

teardown() { end_started; }

project() { env -u COMPOSE_FILE docker compose --project-name "$PROJECT" --project-directory "$PROJECT_DIR" "$@"; }

# The file's secrets as the store has them.
as_json() {
  "$NODE" --input-type=module -e "
    import { readFileSync } from 'node:fs';
    import { parseEnv } from '$REPO/lib/env-file.ts';
    const { DATABASE_URL, ...secrets } = parseEnv(readFileSync('$PROJECT_DIR/.env', 'utf8'));
    console.log(JSON.stringify(secrets))"
}

in_file() { as_json | "$NODE" -e 'process.stdout.write(JSON.parse(require("fs").readFileSync(0, "utf8"))[process.argv[1]])' "$1"; }

in_container() { docker inspect --format '{{range .Config.Env}}{{println .}}{{end}}' "$PROJECT-$1-1" | sed -n "s/^$2=//p"; }

# Whether the role may log in over TCP with a password, from another container than the server's.
logs_in() { docker exec --env PGPASSWORD="$1" "$PROJECT-web-1" psql -h db -U bloaty -d app -Atc 'SELECT 1' >/dev/null 2>&1; }

rotate() { run --separate-stderr opsbook server/rotate-secret "$@"; }

# Everything is as it was: the role, the store, the file, the containers and the journal.
assert_as_before() {
  assert_equal "$(md5sum <"$APP_DIR/.env")" "$FILE_BEFORE"
  assert_equal "$(stored POSTGRES_PASSWORD)" "$(in_file POSTGRES_PASSWORD)"
  assert_equal "$(in_container db POSTGRES_PASSWORD)" "$(in_file POSTGRES_PASSWORD)"
  logs_in "$(in_file POSTGRES_PASSWORD)"
  [ ! -s "$APP_DIR/.opsbook/rotation.json" ]
}

remember() { FILE_BEFORE=$(md5sum <"$APP_DIR/.env"); }

@test "a PostgreSQL password is rotated in the role, the store, the file and the services, and is in no log" {
  local old new
  old=$(in_file POSTGRES_PASSWORD)
  rotate POSTGRES_PASSWORD --yes --json --verbose
  assert_success
  assert_output '{"name":"POSTGRES_PASSWORD","roles":["db/bloaty"],"recreated":["db","picky","web"]}'
  new=$(in_file POSTGRES_PASSWORD)
  assert_regex "$new" '^[0-9a-f]{32}$'
  assert_equal "$(stored POSTGRES_PASSWORD) $(stored API_KEY)" "$new of-issuer"
  assert_equal "$(in_container web DATABASE_URL)" "postgresql://bloaty:$new@db:5432/app"
  assert_equal "$(in_container db POSTGRES_PASSWORD)" "$new"
  logs_in "$new"
  run ! logs_in "$old"
  run ! grep -rF "$new" <<<"$output$stderr"
  run -0 project logs db
  refute_output --partial "$new"
  [ ! -s "$APP_DIR/.opsbook/rotation.json" ]
}

@test "the server keeps a SCRAM verifier that PostgreSQL itself would have made" {
  run -0 "$NODE" --input-type=module -e "
    import { scramVerifier } from '$REPO/lib/server/rotate-secret.ts';
    import { Secret } from '$REPO/lib/secret.ts';
    console.log(scramVerifier(new Secret('pencil-1')).reveal())"
  docker exec "$PROJECT-db-1" psql -U bloaty -d app -qc "CREATE ROLE ours LOGIN PASSWORD '$output'"
  docker exec --env PGPASSWORD=pencil-1 "$PROJECT-web-1" psql -h db -U ours -d app -Atc 'SELECT 1'
  run ! docker exec --env PGPASSWORD=pencil-2 "$PROJECT-web-1" psql -h db -U ours -d app -Atc 'SELECT 1'
  docker exec "$PROJECT-db-1" psql -U bloaty -d app -qc 'DROP ROLE ours'
}

@test "a store that refuses the new password: the role has its old one again" {
  remember
  as SECRETS_READER
  rotate POSTGRES_PASSWORD --yes
  assert_failure 1
  assert_regex "$stderr" 'PutSecretValue .*AccessDenied'
  assert_regex "$stderr" 'everything is as it was: POSTGRES_PASSWORD has its old value'
  assert_as_before
}

@test "a file that cannot be written: role and store have the old password again" {
  remember
  mv "$APP_DIR/.env" "$APP_DIR/.env.kept"
  ln -s .env.kept "$APP_DIR/.env"
  rotate POSTGRES_PASSWORD --yes
  mv "$APP_DIR/.env.kept" "$APP_DIR/.env"
  assert_failure 1
  assert_regex "$stderr" "error: $APP_DIR/.env was not written"
  assert_as_before
}

@test "a service that does not become healthy with the new value: store, file and service are as before" {
  remember
  rotate TOKEN --yes
  assert_failure 1
  assert_regex "$stderr" 'picky-1 is unhealthy|everything is as it was'
  assert_equal "$(stored TOKEN) $(in_container picky TOKEN)" 'of-old of-old'
  assert_as_before
}

@test "another generated secret needs no database; the services that use it are recreated" {
  local old
  old=$(in_file SESSION_KEY)
  rotate SESSION_KEY --yes
  assert_success
  assert_regex "$stderr" 'SESSION_KEY is known to: picky'
  [ "$(in_file SESSION_KEY)" != "$old" ]
  assert_equal "$(in_container picky SESSION_KEY) $(stored SESSION_KEY)" "$(in_file SESSION_KEY) $(in_file SESSION_KEY)"
}

@test "without a store the file alone is changed, and what is only in it stays" {
  local old
  old=$(in_file SESSION_KEY)
  ENV+=(SECRETS_FROM=)
  printf 'BACKUP_KEEP="daily=7"\n' >>"$APP_DIR/.env"
  rotate SESSION_KEY --yes
  assert_success
  [ "$(in_file SESSION_KEY)" != "$old" ]
  assert_equal "$(in_container picky SESSION_KEY) $(in_file BACKUP_KEEP)" "$(in_file SESSION_KEY) daily=7"
  sed -i '/^BACKUP_KEEP=/d' "$APP_DIR/.env"
  project up --detach --wait >/dev/null 2>&1
}

# A docker that does not answer when services are to be recreated, until there is a file go.
slow_docker() {
  mkdir "$BATS_TEST_TMPDIR/bin"
  cat >"$BATS_TEST_TMPDIR/bin/docker" <<SH
#!/bin/sh
case "\$*" in *' up --detach '*)
  touch '$BATS_TEST_TMPDIR/asked'
  [ -e '$BATS_TEST_TMPDIR/go' ] || exec sleep 60 ;;
esac
exec $(command -v docker) "\$@"
SH
  chmod +x "$BATS_TEST_TMPDIR/bin/docker"
  ENV+=(PATH="$BATS_TEST_TMPDIR/bin:$REPO/node_modules/.bin:/usr/bin:/bin")
}

@test "killed halfway: the next run says so, goes on with the same new password, and ends it" {
  slow_docker
  start_opsbook server/rotate-secret POSTGRES_PASSWORD --yes
  wait_for [ -e "$BATS_TEST_TMPDIR/asked" ]
  kill -KILL "$PID"
  wait_for gone "$PID"
  touch "$BATS_TEST_TMPDIR/go"
  assert_equal "$(stat -c %a "$APP_DIR/.opsbook/rotation.json")" 600
  local new
  new=$(stored POSTGRES_PASSWORD)
  rotate SESSION_KEY --yes
  assert_failure 1
  assert_regex "$stderr" 'the rotation of POSTGRES_PASSWORD, begun .*, has not ended. Next: .*rotate-secret.ts POSTGRES_PASSWORD'
  rotate POSTGRES_PASSWORD --yes
  assert_success
  assert_regex "$stderr" 'the rotation of POSTGRES_PASSWORD that began .* was cut off; going on with it'
  assert_equal "$(in_file POSTGRES_PASSWORD) $(in_container db POSTGRES_PASSWORD)" "$new $new"
  logs_in "$new"
  [ ! -s "$APP_DIR/.opsbook/rotation.json" ]
}

@test "interrupted halfway: everything is undone before it ends" {
  remember
  slow_docker
  start_opsbook server/rotate-secret POSTGRES_PASSWORD --yes
  wait_for [ -e "$BATS_TEST_TMPDIR/asked" ]
  touch "$BATS_TEST_TMPDIR/go"
  kill -INT "$PID"
  assert_ends 130
  assert_as_before
}

@test "what is not generated, and what store and file disagree on, is not rotated" {
  remember
  rotate API_KEY --yes
  assert_failure 2
  assert_regex "$stderr" 'API_KEY is neither a generated secret nor the password of a database.*Next: get a new one where it comes from'
  aws_cli secretsmanager put-secret-value --secret-id "$SECRET" --secret-string '{"POSTGRES_PASSWORD": "of-others"}' >/dev/null
  rotate POSTGRES_PASSWORD --yes
  assert_failure 1
  assert_regex "$stderr" "POSTGRES_PASSWORD differs between $APP_DIR/.env and the store"
  assert_equal "$(md5sum <"$APP_DIR/.env")" "$FILE_BEFORE"
}

@test "a dry run and a run that is not confirmed change nothing" {
  remember
  rotate POSTGRES_PASSWORD --dry-run
  assert_success
  assert_regex "$stderr" 'would: alter the role bloaty in db'
  assert_regex "$stderr" 'would: recreate the services that use it'
  rotate POSTGRES_PASSWORD
  assert_failure 2
  assert_as_before
}
