# What the tests of deployments share: an app of the file's own on the sandbox's host, behind a proxy on the host's port
# 443, and images of it that work or are broken in one way each.
load ../helpers

# Runs a script of the area as an operator would, with the settings of the test.
opsbook() {
  local step=$1
  shift
  (cd "$BATS_TEST_TMPDIR" && exec "$NODE" "$REPO/scripts/deploy/$step.ts" "$@")
}

# Brings the app up at version 1.0.0, once a file. Its directory has the same path on the host.
app_up() {
  : "${SANDBOX_URL:?no sandbox: run the tests by npm test, or first: eval \"\$(npm run --silent sandbox)\"}"
  local proxy=${1:-nginx}
  export APP="shop-$RANDOM" IMAGE="${IMAGE_OF_APP:-shop$RANDOM/web}"
  export APP_DIR="${APP_DIR%/*}/$APP" COMPOSE_PROJECT_NAME=$APP
  mkdir "$APP_DIR"
  cp "$REPO/test/deploy/app/"* "$APP_DIR"
  mv "$APP_DIR/$proxy.yml" "$APP_DIR/proxy.yml"
  export COMPOSE_FILE=docker-compose.yml:proxy.yml
  image 1.0.0
  printf "IMAGE='%s'\n" "$IMAGE" >"$APP_DIR/.env"
  compose up --detach --wait --quiet-pull >"$BATS_FILE_TMPDIR/up" 2>&1 || { cat "$BATS_FILE_TMPDIR/up" >&2; return 1; }
  local port
  port=$(docker ${SANDBOX_DOCKER_HOST:+--host "$SANDBOX_DOCKER_HOST"} port "$SANDBOX_HOST_CONTAINER" 443/tcp)
  export APP_URL="http://127.0.0.1:${port##*:}"
  export HEALTH_URL="$APP_URL/health" VERSION_URL="$APP_URL/api/version"
  export ROLLOUT_SERVICES=web HEALTH_TIMEOUT=20 HEALTHY_FOR=1
  wait_for answers_version 1.0.0
}

app_down() {
  [[ ${APP:-} == shop-* ]] || return 0
  compose down --volumes --timeout 0 >/dev/null 2>&1 || true
  docker image ls --quiet "$IMAGE" | sort -u | xargs -r docker rmi --force >/dev/null 2>&1 || true
  rm -rf "$APP_DIR"
}

# Back to 1.0.0, with nothing remembered.
app_reset() {
  rm -rf "$APP_DIR/.opsbook"
  printf "IMAGE='%s'\n" "$IMAGE" >"$APP_DIR/.env"
  [ "$(running)" = "web $IMAGE:1.0.0 worker $IMAGE:1.0.0" ] || compose up --detach --wait --remove-orphans >/dev/null 2>&1
}

# `docker compose` in the app's directory, with its own files alone.
compose() {
  (cd "$APP_DIR" && docker compose "$@")
}

# The same as an operator or the unit of the boot types it: only the .env says what belongs to it.
plain_compose() {
  (cd "$APP_DIR" && env --unset=COMPOSE_FILE docker compose "$@")
}

# An image of the app: `image TAG [VERSION [CHANGE…]]`, where a change is an instruction of a Dockerfile.
image() {
  local tag=$1 version=${2:-$1} made change=()
  shift $(($# > 2 ? 2 : $#))
  for made in "$@"; do change+=(--change "$made"); done
  made=$(docker create sandbox/web:1.0.0)
  docker commit --change "ENV APP_VERSION=$version" "${change[@]}" "$made" "$IMAGE:$tag" >/dev/null
  docker rm "$made" >/dev/null
}

# A CMD that runs the app as it is, and does something more when it listens: `node_with JAVASCRIPT`.
node_with() {
  printf 'CMD ["-e", "import(`/app/server.mjs`).then(() => { %s })"]' "$1"
}

# The version that answers from outside.
answered() {
  curl -fsS --max-time 5 "$VERSION_URL" | sed -n 's/.*"version":"\([^"]*\)".*/\1/p'
}

answers_version() { [ "$(answered 2>/dev/null)" = "$1" ]; }

# Waits as `wait_for` does, for what comes late in a deployment: 120 s, since a busy machine takes its time.
wait_long() { wait_seconds 120 "$@"; }

# The images that the services run, as `service image`, sorted.
running() {
  docker ps --filter "label=com.docker.compose.project=$APP" --format '{{.Label "com.docker.compose.service"}} {{.Image}}' |
    grep -E '^(web|worker) ' | sort | xargs
}

# Fails unless web and worker run this version, and it is the one that answers.
assert_runs() {
  assert_equal "$(running)" "web $IMAGE:$1 worker $IMAGE:$1"
  assert_equal "$(answered)" "$1"
}

# The deployments that were recorded: the values of some keys, one deployment a line.
records() {
  "$NODE" -e '
    const [file, ...keys] = process.argv.slice(1);
    for (const line of require("fs").readFileSync(file, "utf8").trim().split("\n"))
      console.log(keys.map((key) => JSON.parse(line)[key] ?? "-").join(" "));
  ' "$APP_DIR/.opsbook/deployments.jsonl" "$@"
}

# A steady load of requests until `end_load`, through the proxy.
start_load() {
  LOAD=$BATS_TEST_TMPDIR/load
  "$NODE" "$REPO/test/deploy/load.ts" "$VERSION_URL" "${1:-150}" "$LOAD.failed" >"$LOAD" 2>&1 3>&- &
  LOAD_PID=$!
  STARTED+=("$LOAD_PID")
}

# Ends the load; LOADED is what it saw.
end_load() {
  kill "$LOAD_PID"
  wait "$LOAD_PID"
  LOADED=$(<"$LOAD")
}

# Fails if a request failed, or if none was answered by one of these versions.
assert_none_dropped() {
  end_load
  echo "# $LOADED" >&3
  [[ $LOADED == *'"failed":0,'* ]] || fail "$LOADED $(sort "$LOAD.failed" | head -5)"
  local version
  for version in "$@"; do [[ $LOADED == *"\"$version\":"* ]] || fail "$version never answered: $LOADED"; done
}
