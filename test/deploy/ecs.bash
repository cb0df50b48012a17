# What the tests of ECS share: a service of the file's own in the sandbox's AWS, behind a load balancer, and images of it
# that work or are broken in one way each.
load ../helpers

# The sandbox's `second`: what AWS counts in seconds passes ten times as fast.
ECS_FASTER='{"secondMs":100,"tickMs":50,"retryMs":200}'
ELB_FASTER='{"secondMs":100,"drainSecondMs":200}'

# Engine of this machine, on which tasks run.
engine() { docker ${SANDBOX_DOCKER_HOST:+--host "$SANDBOX_DOCKER_HOST"} "$@"; }

# Sets what ECS does wrong, or how fast its time goes.
faults() { curl -fsS --data "$2" "$AWS_ENDPOINT_URL/sandbox/$1" >/dev/null; }

# The default VPC, and two subnets of it.
network() {
  aws_cli ec2 describe-subnets --query 'Subnets[0:2].[VpcId,SubnetId]' --output text |
    { read -r vpc first; read -r _ second; echo "$vpc $first $second"; }
}

service() { "$NODE" "$REPO/test/deploy/ecs/service.ts" "$@"; }

# An image of the app in ECR: `image TAG [MODE [ANSWERS]]`.
image() {
  local base
  base=$(engine image ls --format '{{.Repository}}:{{.Tag}}' opsbook-sandbox/web | head -1)
  engine build --quiet --build-arg BASE="$base" --build-arg VERSION="$1" --build-arg MODE="${2:-good}" \
    --build-arg ANSWERS="${3:-$1}" --tag "$IMAGE:$1" "$REPO/test/deploy/ecs" >/dev/null 2>&1
  engine push --quiet "$IMAGE:$1" >/dev/null
}

# A service that runs 1.0.0 in two tasks, once a file.
ecs_up() {
  : "${SANDBOX_ADMIN_ACCESS_KEY_ID:?no sandbox: run the tests by npm test, or first: eval \"\$(npm run --silent sandbox)\"}"
  export OPSBOOK_SANDBOX=${OPSBOOK_SANDBOX:-opsbook} SERVICE="shop$RANDOM" DOCKER_CONFIG="$BATS_FILE_TMPDIR/docker"
  aws_cli ecr create-repository --repository-name shop >/dev/null 2>&1 || true
  IMAGE=$(aws_cli ecr describe-repositories --repository-names shop --query 'repositories[0].repositoryUri' --output text)
  export IMAGE
  aws_cli ecr get-login-password | engine login --username AWS --password-stdin "${IMAGE%/*}" >/dev/null 2>&1
  ecs_faults
  image 1.0.0
  # shellcheck disable=SC2046
  service up "$SERVICE" "$IMAGE:1.0.0" $(network) >"$BATS_FILE_TMPDIR/up"
  source "$BATS_FILE_TMPDIR/up"
}

ecs_down() {
  [ -z "${SERVICE:-}" ] || service down "$SERVICE" || true
}

# Nothing wrong, and time that goes quickly.
ecs_faults() {
  curl -fsS -X DELETE "$AWS_ENDPOINT_URL/sandbox/ecs" >/dev/null
  faults ecs "$ECS_FASTER"
  faults elasticloadbalancing "$ELB_FASTER"
}

# What a script that deploys is told.
ecs_settings() {
  ecs_faults
  service reset "$SERVICE"
  ENV+=(APP=shop APP_DIR=/opt/shop TARGET="ecs://shops/$SERVICE" IMAGE="$IMAGE" HEALTH_TIMEOUT=60 HEALTHY_FOR=0
    HEALTH_URL="$APP_URL/health" VERSION_URL="$APP_URL/api/version"
    AWS_ENDPOINT_URL="$AWS_ENDPOINT_URL" AWS_REGION="$AWS_REGION"
    AWS_ACCESS_KEY_ID="$SANDBOX_ADMIN_ACCESS_KEY_ID" AWS_SECRET_ACCESS_KEY="$SANDBOX_ADMIN_SECRET_ACCESS_KEY")
}

# The service as ECS tells of it: what is asked for in JMESPath.
of_service() { aws_cli ecs describe-services --cluster shops --services "$SERVICE" --query "services[0].$1" --output text; }

# Fails unless the service runs this version alone, and it answers.
assert_runs() {
  assert_equal "$(curl -fsS "$APP_URL/api/version" | sed 's/.*"version":"\([^"]*\)".*/\1/')" "$1"
  assert_equal "$(of_service 'deployments[].[status,rolloutState,runningCount]')" "PRIMARY	COMPLETED	2"
}

# A steady load of requests through the load balancer; `assert_none_dropped VERSION…` ends it.
start_load() {
  LOAD=$BATS_TEST_TMPDIR/load
  "$NODE" "$REPO/test/deploy/load.ts" "$APP_URL/api/version" "$1" "$LOAD.failed" >"$LOAD" 2>&1 3>&- &
  LOAD_PID=$!
  STARTED+=("$LOAD_PID")
}

assert_none_dropped() {
  kill "$LOAD_PID"
  wait "$LOAD_PID"
  local loaded version
  loaded=$(<"$LOAD")
  echo "# $loaded" >&3
  [[ $loaded == *'"failed":0,'* ]] || fail "$loaded $(cut -c1-19,24- "$LOAD.failed" | uniq -c | head -30)"
  for version in "$@"; do [[ $loaded == *"\"$version\":"* ]] || fail "$version never answered: $loaded"; done
}
