# What the tests of a fleet share: the sandbox's three instances behind a load balancer, with an app of the file's own whose
# images are in ECR.
load world
load ecs

# Runs a script of the area as an operator would, with the settings of the test.
opsbook() {
  local step=$1
  shift
  (cd "$BATS_TEST_TMPDIR" && exec "$NODE" "$REPO/scripts/deploy/$step.ts" "$@")
}

fleet_up() {
  (cd "$REPO" && npm run --silent sandbox -- up fleet >"$BATS_FILE_TMPDIR/exports")
  eval "$(cat "$BATS_FILE_TMPDIR/exports")"
  unset COMPOSE_FILE DOCKER_HOST
  export AWS_ACCESS_KEY_ID=$SANDBOX_ADMIN_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY=$SANDBOX_ADMIN_SECRET_ACCESS_KEY
  export APP="hermes-$RANDOM" APP_DIR=/opt/hermes TARGET=ssm://tag:Name=hermes DOCKER_CONFIG="$BATS_FILE_TMPDIR/docker"
  export IMAGE="$SANDBOX_REGISTRY/$APP"
  faults elasticloadbalancing "$ELB_FASTER"
  faults ssm '{"deliveryMs":20,"invisibleMs":10}'
  aws_cli ecr create-repository --repository-name "$APP" >/dev/null
  aws_cli ecr get-login-password | engine login --username AWS --password-stdin "$SANDBOX_REGISTRY" 2>/dev/null
  image 1.0.0
  local node nodes
  IFS=, read -ra nodes <<<"$SANDBOX_FLEET_CONTAINERS"
  local starting=()
  for node in "${nodes[@]}"; do
    start_app "$node" 3>&- &
    starting+=("$!")
  done
  wait "${starting[@]}"
  # shellcheck disable=SC2046
  eval "$("$NODE" "$REPO/test/deploy/fleet/fleet.ts" up "$APP" $(network) ${SANDBOX_FLEET_IDS//,/ })"
  export TARGET_GROUP_ARN HEALTH_URL="$APP_URL/health" VERSION_URL="$APP_URL/" HEALTH_TIMEOUT=30 HEALTHY_FOR=1
  wait_for all_healthy
}

# The app at 1.0.0 on one instance, from a bare directory.
start_app() {
  local token
  token=$(aws_cli ecr get-login-password)
  on "$1" sh -c 'rm -rf /opt/hermes && mkdir -p /opt/hermes && cat > /opt/hermes/docker-compose.yml' <"$REPO/test/deploy/fleet/docker-compose.yml"
  on "$1" docker login --username AWS --password-stdin "$SANDBOX_REGISTRY" <<<"$token" >/dev/null 2>&1
  on "$1" sh -c 'echo "IMAGE=$1" > /opt/hermes/.env; cd /opt/hermes && docker compose up --detach --wait --quiet-pull' sh "$IMAGE" >/dev/null 2>&1
  on "$1" docker logout "$SANDBOX_REGISTRY" >/dev/null
}

fleet_down() {
  curl -fsS -X DELETE "$AWS_ENDPOINT_URL/sandbox/ssm" >/dev/null || true
  [ -z "${TARGET_GROUP_ARN:-}" ] || "$NODE" "$REPO/test/deploy/fleet/fleet.ts" down "$APP" || true
  local node nodes
  IFS=, read -ra nodes <<<"${SANDBOX_FLEET_CONTAINERS:-}"
  for node in "${nodes[@]}"; do
    on "$node" sh -c 'docker ps --quiet | xargs -r docker rm --force --volumes; docker image ls --quiet "$1" | sort -u | xargs -r docker rmi --force; rm -rf /opt/hermes' sh "$IMAGE" >/dev/null 2>&1 || true
  done
  local id
  for id in $(engine image ls --quiet "$IMAGE" | sort -u); do engine rmi --force "$id" >/dev/null 2>&1 || true; done
}

# Runs a command on an instance, past the scripts.
on() {
  local container=$1
  shift
  engine exec --interactive "$container" "$@"
}

# The states of the targets, sorted: `healthy healthy healthy`.
target_states() {
  aws_cli elbv2 describe-target-health --target-group-arn "$TARGET_GROUP_ARN" \
    --query 'TargetHealthDescriptions[].TargetHealth.State' --output text | xargs -n1 | sort | xargs
}

all_healthy() { [ "$(target_states)" = "healthy healthy healthy" ]; }

# The versions that the instances run, in order: `1.0.0 1.0.0 1.0.0`.
versions() {
  local node nodes
  IFS=, read -ra nodes <<<"$SANDBOX_FLEET_CONTAINERS"
  for node in "${nodes[@]}"; do
    on "$node" curl -fsS --max-time 3 --write-out '\n' http://127.0.0.1:8000/ | sed -n 's/.*"version":"\([^"]*\)".*/\1/p'
  done | xargs
}

# All instances run this version, and all are healthy for the load balancer.
assert_fleet() {
  assert_equal "$(versions)" "$1 $1 $1"
  assert_equal "$(target_states)" "healthy healthy healthy"
}
