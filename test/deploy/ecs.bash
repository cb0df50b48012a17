# What the tests of ECS share: a service of the file's own in the sandbox's AWS, behind a load balancer, and images of it
# that work or are broken in one way each.
load ../helpers

# The sandbox's `second`: what AWS counts in seconds passes ten times as fast.
ECS_FASTER='{"secondMs":100,"tickMs":50,"retryMs":200}'
ELB_FASTER='{"secondMs":100,"drainSecondMs":100}'

# Engine of this machine, on which tasks run.
engine() { docker ${SANDBOX_DOCKER_HOST:+--host "$SANDBOX_DOCKER_HOST"} "$@"; }

# Sets what ECS does wrong, or how fast its time goes.
faults() { curl -fsS --data "$2" "$AWS_ENDPOINT_URL/sandbox/$1" >/dev/null; }

# The AWS CLI, as one who may do all.
aws_cli() {
  engine exec -e AWS_ACCESS_KEY_ID="$SANDBOX_ADMIN_ACCESS_KEY_ID" -e AWS_SECRET_ACCESS_KEY="$SANDBOX_ADMIN_SECRET_ACCESS_KEY" \
    "$OPSBOOK_SANDBOX-aws" aws --endpoint-url http://127.0.0.1:5000 --region "$AWS_REGION" --output json "$@"
}

# The default VPC, and two subnets of it.
network() {
  aws_cli ec2 describe-subnets --query 'Subnets[0:2].[VpcId,SubnetId]' --output text |
    { read -r vpc first; read -r _ second; echo "$vpc $first $second"; }
}

service() { "$NODE" --import "$TSX" "$REPO/test/deploy/ecs/service.ts" "$@"; }

# An image of the app in ECR: `image TAG [MODE [ANSWERS]]`.
image() {
  local base
  base=$(engine image ls --format '{{.Repository}}:{{.Tag}}' opsbook-sandbox/web | head -1)
  engine build --quiet --build-arg BASE="$base" --build-arg VERSION="$1" --build-arg MODE="${2:-good}" \
    --build-arg ANSWERS="${3:-$1}" --tag "$IMAGE:$1" "$REPO/test/deploy/ecs" >/dev/null
  engine push --quiet "$IMAGE:$1" >/dev/null
}
