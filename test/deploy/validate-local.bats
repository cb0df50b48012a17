#!/usr/bin/env bats
# An app of a checkout under a name of its own, on an engine on which others run too.
bats_require_minimum_version 1.5.0

load ../helpers
: "${SANDBOX_URL:?no sandbox: run the tests by npm test, or first: eval \"\$(npm run --silent sandbox)\"}"

setup_file() {
  # The machine's own engine, whose ports are ours.
  unset COMPOSE_FILE
  export DOCKER_HOST=${SANDBOX_DOCKER_HOST:-}
  [ -n "$DOCKER_HOST" ] || unset DOCKER_HOST
  local image
  image=$(docker images --format '{{.Repository}}:{{.Tag}}' opsbook-sandbox/web | head -n 1)
  docker build --quiet --tag opsbook-validated - >/dev/null <<DOCKER
FROM $image
ENTRYPOINT ["node", "-e"]
HEALTHCHECK NONE
DOCKER
}

teardown_file() {
  docker rmi --force opsbook-validated >/dev/null
}

setup() {
  APP=v$RANDOM-$BATS_TEST_NUMBER
  WORK_DIR=$BATS_TEST_TMPDIR/checkout
  mkdir "$WORK_DIR"
  cd "$WORK_DIR" || return
  ENV+=(APP="$APP" APP_DIR=/opt/chitram DOCKER_CONFIG="${DOCKER_CONFIG:-$HOME/.docker}" HEALTH_TIMEOUT=20)
  [ -z "${DOCKER_HOST:-}" ] || ENV+=(DOCKER_HOST="$DOCKER_HOST")
  PORT=$((20000 + RANDOM % 10000))
  ENV+=(VALIDATE_URLS="http://127.0.0.1:$PORT/health,http://127.0.0.1:$PORT/docs")
  app '{"status":"healthy","database":"connected"}' 200
}

teardown() {
  end_started
  docker ps --all --quiet --filter "name=$APP" | xargs -r docker rm --force --volumes >/dev/null
  docker network ls --quiet --filter "name=$APP" | xargs -r docker network rm >/dev/null
  docker volume ls --quiet --filter "name=$APP" | xargs -r docker volume rm --force >/dev/null
  docker rmi --force "$APP-validate-web" >/dev/null 2>&1 || true
}

# Writes the app: what /health answers, the status of /docs, and more of the service or of the file.
app() {
  cat >server.js <<JS
require("node:http").createServer((q, s) => q.url === "/docs" ? s.writeHead($2).end() : s.end(\`$1\`)).listen(8000)
JS
  printf 'FROM opsbook-validated\nCOPY server.js /\nENTRYPOINT ["node", "/server.js"]\n' >Dockerfile
  cat >compose.yml <<YAML
services:
  web:
    build: .
    init: true
    ports: ["127.0.0.1:$PORT:8000"]
    volumes: ["data:/data", "/anonymous"]
    healthcheck: { test: [CMD, node, -e, "fetch('http://127.0.0.1:8000/health').then((r) => process.exit(r.ok ? 0 : 1))"], interval: 500ms, retries: 60 }
${3:-}
volumes:
  data: ${4:-}
YAML
}

validate() { opsbook deploy/validate-local "$@"; }

# What of the validation is there: containers, networks and volumes by their names.
left() {
  { docker ps --all --filter "name=$APP-validate" --format '{{.Names}}'
    docker network ls --filter "name=$APP-validate" --format '{{.Name}}'
    docker volume ls --filter "name=$APP-validate" --format '{{.Name}}'; } | xargs
}

@test "an app that is well is built, started, waited for, asked, and removed by --cleanup" {
  run -0 --separate-stderr validate
  assert_regex "$stderr" "✓  web +running, healthy"
  assert_regex "$stderr" "✓  http://127.0.0.1:$PORT/docs +200"
  assert_equal "$(left)" "$APP-validate-web-1 $APP-validate_default $APP-validate_data"
  run -0 --separate-stderr validate --cleanup
  assert_equal "$(left)" ""
  run -0 --separate-stderr validate --cleanup
  assert_regex "$stderr" "= nothing of $APP-validate is left here"
}

@test "a second validation takes the changes, and --json tells what was found" {
  run -0 validate
  app '{"status":"ok","version":"2"}' 200
  run -0 --separate-stderr validate --json
  assert_regex "$output" "\"project\":\"$APP-validate\",\"findings\":\[\{\"url\":\"web\",\"answer\":\"running, healthy\",\"ok\":true\}"
  assert_regex "$(curl -s "http://127.0.0.1:$PORT/health")" '"version":"2"'
}

@test "✗ grep healthy matches unhealthy, and /docs may answer 500: both are a failure" {
  app '{"status":"unhealthy","database":"error"}' 500
  run -3 --separate-stderr validate
  assert_regex "$stderr" "✗  http://127.0.0.1:$PORT/health +200: status is \"unhealthy\""
  assert_regex "$stderr" "error: http.*/health: 200: status is \"unhealthy\"; http.*/docs: 500. Next: look at it with docker compose --project-name $APP-validate logs"
}

@test "✗ 'Database connected' over a broken database: an error below a healthy status is a failure" {
  app '{"status":"healthy","checks":{"database":"error"}}' 200
  run -3 --separate-stderr validate
  assert_regex "$stderr" 'error: .*/health: 200: checks.database is "error"'
}

@test "a container that crashes is a failure, with its last words" {
  app '{}' 200 '    command: --no-such-option
  worker: { image: opsbook-validated, command: ["console.error(`no such table`); process.exit(7)"] }'
  run -1 --separate-stderr validate
  assert_regex "$stderr" "wrote last:"
  assert_regex "$stderr" "no such table"
  assert_regex "$stderr" "error: $APP-validate-worker-1 ended with exit code 7"
}

@test "a container that is never healthy is a failure, with what its health check said" {
  app '{}' 200 '  worker:
    image: opsbook-validated
    command: ["setInterval(() => {}, 1e6)"]
    healthcheck: { test: [CMD, node, -e, "console.log(`queue is full`); process.exit(1)"], interval: 200ms, retries: 2 }'
  run -1 --separate-stderr validate
  assert_regex "$stderr" "error: $APP-validate-worker-1 is unhealthy: queue is full"
  assert_regex "$stderr" "its health check said: queue is full"
}

@test "a one-shot that did its work and ended is well" {
  app '{"status":"ok"}' 200 '  migrate: { image: opsbook-validated, command: ["process.exit(0)"] }'
  run -0 --separate-stderr validate
  assert_regex "$stderr" "✓  migrate +exited"
}

@test "an address that nobody answers on is a failure" {
  ENV+=(VALIDATE_URLS="http://127.0.0.1:$PORT/health,http://127.0.0.1:9/x")
  run -3 --separate-stderr validate
  assert_regex "$stderr" 'error: http://127.0.0.1:9/x: no answer'
}

@test "validate-local.sh --cleanup deleted production volumes: those of production survive, with their data" {
  # Production: the same compose file, the same explicitly named volume, its own project.
  app '{}' 200 '' "{ name: $APP-production-data }"
  docker compose --project-name "$APP-production" up --detach --build --wait >/dev/null 2>&1
  docker exec "$APP-production-web-1" sh -c 'echo precious > /data/rows'
  run -1 --separate-stderr validate
  assert_regex "$stderr" "error: the volume $APP-production-data is there already, and was not made by a validation of this checkout. Next: validate on a machine where the app does not run"
  run -0 --separate-stderr validate --cleanup
  assert_equal "$(docker exec "$APP-production-web-1" cat /data/rows)" precious
  assert_equal "$(docker inspect --format '{{.State.Status}}' "$APP-production-web-1")" running
  docker rmi --force "$APP-production-web" >/dev/null 2>&1
}

@test "a volume with a name of its own is kept by --cleanup, though the validation made it" {
  app '{}' 200 '' "{ name: $APP-named }"
  run -0 validate
  docker exec "$APP-validate-web-1" sh -c 'echo kept > /data/rows'
  run -0 --separate-stderr validate --cleanup
  assert_regex "$stderr" "= the volume $APP-named is kept: its name is one that other projects may use"
  assert_equal "$(docker volume ls --quiet --filter "name=$APP-named")" "$APP-named"
  run -0 validate
  assert_equal "$(docker exec "$APP-validate-web-1" cat /data/rows)" kept
}

@test "an external volume is not taken, and not removed" {
  docker volume create "$APP-external" >/dev/null
  app '{}' 200 '' "{ name: $APP-external, external: true }"
  run -1 --separate-stderr validate
  assert_regex "$stderr" "error: the volume $APP-external is there already"
  run -0 validate --cleanup
  assert_equal "$(docker volume ls --quiet --filter "name=$APP-external")" "$APP-external"
}

@test "a network, a container and a project of another's are not joined, and named together" {
  app '{}' 200 "    container_name: $APP-caddy
networks: { default: { name: $APP-network } }"
  docker network create "$APP-network" >/dev/null
  docker run --detach --name "$APP-caddy" --label "com.docker.compose.project=$APP-validate" opsbook-validated 'setInterval(() => {}, 1e6)' >/dev/null
  run -1 --separate-stderr validate
  assert_regex "$stderr" "error: the network $APP-network is there already"
  assert_regex "$stderr" "error: the container $APP-caddy is there already"
  assert_regex "$stderr" "error: the container $APP-caddy of the project $APP-validate is there already"
  run -0 validate --cleanup
  assert_equal "$(docker inspect --format '{{.State.Status}}' "$APP-caddy")" running
}

@test "a directory that another container writes to is not shared" {
  mkdir postgres
  app '{}' 200 '  db: { image: opsbook-validated, volumes: ["./postgres:/var/lib/postgresql/data"] }'
  docker run --detach --name "$APP-db" --volume "$WORK_DIR/postgres:/data" opsbook-validated 'setInterval(() => {}, 1e6)' >/dev/null
  run -1 --separate-stderr validate
  assert_regex "$stderr" "error: $WORK_DIR/postgres is written to by the container $APP-db, which runs"
}

@test "--cleanup of one checkout leaves that of another alone" {
  run -0 validate
  mkdir ../other
  WORK_DIR=$BATS_TEST_TMPDIR/other run -0 validate --cleanup
  assert_equal "$(left)" "$APP-validate-web-1 $APP-validate_default $APP-validate_data"
}

@test "--dry-run starts nothing, and with --cleanup removes nothing" {
  run -0 --separate-stderr validate --dry-run
  assert_regex "$stderr" "docker compose --file - --project-directory .* up --detach --build"
  assert_equal "$(left)" ""
  run -0 validate
  run -0 --separate-stderr validate --cleanup --dry-run
  assert_regex "$stderr" "would: remove 1 volume"
  assert_equal "$(left)" "$APP-validate-web-1 $APP-validate_default $APP-validate_data"
}

@test "a compose file that is wrong, and one that is not there, are told with the settings" {
  echo 'services: [' >compose.yml
  run -2 --separate-stderr validate
  assert_regex "$stderr" 'error: docker compose config: .*Next: correct COMPOSE_FILE'
  rm compose.yml
  run -2 --separate-stderr validate
  assert_regex "$stderr" 'Next: correct COMPOSE_FILE, or run it in the checkout'
}
