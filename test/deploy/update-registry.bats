#!/usr/bin/env bats
# Images from a registry that wants a login: what runs is pinned by digest, and what is gone is found out before.
bats_require_minimum_version 1.5.0

load world
load cloud

# Runs a script of the area as one who may do all in AWS; `cloud` has another of this name.
opsbook() {
  local step=$1
  shift
  (cd "$BATS_TEST_TMPDIR" && AWS_ACCESS_KEY_ID=$SANDBOX_ADMIN_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY=$SANDBOX_ADMIN_SECRET_ACCESS_KEY \
    exec "$NODE" "$REPO/scripts/deploy/$step.ts" "$@")
}

setup_file() {
  NAME="shop$RANDOM/web"
  export NAME IMAGE_OF_APP="$SANDBOX_REGISTRY/$NAME"
  aws_cli ecr create-repository --repository-name "$NAME" >/dev/null
  app_up nginx
  push 2.0.0
}

teardown_file() { app_down; }
setup() { app_reset; }
teardown() { [ -z "${SOCKET:-}" ] || end_small_engine; }

# An image that is in the registry, and not on the host any more.
push() {
  image "$1"
  local config
  config=$(mktemp -d "$BATS_FILE_TMPDIR/docker.XXXX")
  aws_cli ecr get-login-password | DOCKER_CONFIG=$config docker login --username AWS --password-stdin "$SANDBOX_REGISTRY" >/dev/null 2>&1
  DOCKER_CONFIG=$config docker push --quiet "$IMAGE:$1" >/dev/null
  docker rmi "$IMAGE:$1" >/dev/null
}

digest_of() { aws_cli ecr describe-images --repository-name "$NAME" --image-ids "imageTag=$1" --query 'imageDetails[0].imageDigest' --output text; }

@test "an image of ECR is pulled with a login of our own, and pinned by its digest" {
  run -0 --separate-stderr opsbook update-deployment 2.0.0
  local digest
  digest=$(digest_of 2.0.0)
  # `docker ps` leaves digests out.
  run -0 docker inspect --format '{{.Config.Image}}' "$APP-worker-1"
  assert_output "$IMAGE:2.0.0@$digest"
  assert_equal "$(answered)" 2.0.0
  run ! docker pull "$IMAGE:2.0.0"
  # A tag that is moved is no other version for those who have the digest.
  run -0 opsbook rollback --yes
  run -0 opsbook rollback --yes
  assert_equal "$(answered)" 2.0.0
}

@test "a version that is gone from the registry is found out before anything is changed" {
  local before
  before=$(docker ps --quiet --no-trunc)
  run -1 --separate-stderr opsbook update-deployment 9.9.9
  [[ $stderr == *"$IMAGE:9.9.9 is not in its registry"* ]] || fail "$stderr"
  assert_equal "$(docker ps --quiet --no-trunc)" "$before"
}

@test "without the right to ask ECR for a token it is told that the registry wants a login" {
  run -1 --separate-stderr "$NODE" "$REPO/scripts/deploy/update-deployment.ts" 9.9.9
  # Which of its two words for it the CLI has depends on which address of the registry it tried last.
  local one="$IMAGE:9.9.9 is not in its registry, or may not be read there. Next: push it, or log in on the host: docker login"
  local other="$IMAGE:9.9.9 may not be read: the host is not logged in to its registry. Next: log in on the host: docker login"
  [[ $stderr == *"$one"* || $stderr == *"$other"* ]] || fail "$stderr"
}

# Another engine on the host, with a disk of its own that holds 64 MB: SOCKET is its address.
small_engine() {
  SOCKET=unix://$APP_DIR/small.sock
  docker --host "$SANDBOX_DOCKER_HOST" exec "$SANDBOX_HOST_CONTAINER" sh -c 'mkdir -p /small; mount -t tmpfs -o size=64m small /small
    exec dockerd --data-root /small/data --exec-root /small/run --pidfile /small/pid --host "$1" --bridge none --iptables=false --ip6tables=false' \
    sh "$SOCKET" >"$BATS_TEST_TMPDIR/engine" 2>&1 3>&- &
  wait_long docker --host "$SOCKET" version >/dev/null 2>&1
}

end_small_engine() {
  docker --host "$SANDBOX_DOCKER_HOST" exec "$SANDBOX_HOST_CONTAINER" sh -c '[ ! -e /small/pid ] || kill "$(cat /small/pid)"'
  wait
  docker --host "$SANDBOX_DOCKER_HOST" exec "$SANDBOX_HOST_CONTAINER" umount /small
}

@test "a disk that fills up during the pull: it says so, and nothing runs that did not" {
  small_engine
  DOCKER_HOST=$SOCKET run -1 --separate-stderr opsbook update-deployment 2.0.0
  [[ $stderr == *"$IMAGE:2.0.0@sha256:"*" does not fit on the disk of the host. Next: make room"* ]] || fail "$stderr"
  assert_equal "$(docker --host "$SOCKET" ps --all --quiet)" ""
  assert_runs 1.0.0
}
