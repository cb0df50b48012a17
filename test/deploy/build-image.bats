#!/usr/bin/env bats
# Images of real repositories, built by the real Docker, pushed to ECR's registry of the sandbox.
bats_require_minimum_version 1.5.0

load cloud

setup_file() {
  unset COMPOSE_FILE
  # The machine's own engine: it reaches the registry as every host does.
  export DOCKER_HOST=${SANDBOX_DOCKER_HOST:-}
  [ -n "$DOCKER_HOST" ] || unset DOCKER_HOST
  export NAME=drawing-agent-$RANDOM
  aws_cli ecr create-repository --repository-name "$NAME" >/dev/null
  aws_cli ecr create-repository --repository-name "$NAME-ssr" --image-tag-mutability IMMUTABLE >/dev/null
}

teardown_file() {
  aws_cli ecr delete-repository --force --repository-name "$NAME" >/dev/null
  aws_cli ecr delete-repository --force --repository-name "$NAME-ssr" >/dev/null
}

setup() {
  as_admin
  export HOME=$BATS_TEST_TMPDIR
  WORK_DIR=$BATS_TEST_TMPDIR/checkout IMAGE=$SANDBOX_REGISTRY/$NAME
  ENV+=(APP=codemonet APP_DIR=/opt/codemonet IMAGE="$IMAGE")
  [ -z "${DOCKER_HOST:-}" ] || ENV+=(DOCKER_HOST="$DOCKER_HOST")
  git config --global user.name Someone
  git config --global user.email someone@example.org
  git init --quiet --initial-branch main "$WORK_DIR"
  cd "$WORK_DIR" || return
  # Nothing but what is in the checkout is needed to build it. Each test has a commit of its own.
  printf 'FROM scratch\nARG VERSION COMMIT\nLABEL told="$VERSION $COMMIT"\nCOPY app /app\n' >Dockerfile
  echo "$NAME $BATS_TEST_NUMBER $RANDOM" >app
  commit
  VERSION=1.$BATS_TEST_NUMBER.0
}

teardown() {
  end_started
  local images
  images=$(docker images --quiet --filter "reference=$SANDBOX_REGISTRY/$NAME*")
  [ -z "$images" ] || docker rmi --force $images >/dev/null
}

commit() {
  git add --all
  git commit --quiet --message "Change"
  COMMIT=$(git rev-parse HEAD) SHORT=$(git rev-parse HEAD | cut -c -12)
}

build() { opsbook deploy/build-image "$@"; }

# The tags and digests that ECR has of a repository: "1.0.0 sha256:…" a line.
pushed() {
  aws_cli ecr describe-images --repository-name "${1:-$NAME}" --query 'imageDetails[].[join(`,`, sort(imageTags)), imageDigest]' --output text
}

# The tags of an image as `pushed` tells of them: a commit that begins with 0 comes before the version.
tags() { printf '%s\n' "$@" | LC_ALL=C sort | paste --serial --delimiters ,; }

# What the ECR of the sandbox does from now on.
ecr() { curl --silent --fail --data "$1" "$AWS_ENDPOINT_URL/sandbox/ecr" >/dev/null; }

@test "an image is built and pushed under its version and its commit, and its digest is the answer" {
  run -0 --separate-stderr build "v$VERSION"
  assert_regex "$output" "^$IMAGE:$VERSION@sha256:[0-9a-f]{64}$"
  assert_equal "$(pushed | grep -F "$VERSION")" "$(tags "$VERSION" "$SHORT")"$'\t'"${output#*@}"
  docker rmi --force "$IMAGE:$VERSION" >/dev/null
}

@test "the version and the commit are in the image, as build arguments and as OCI's labels" {
  run -0 build "$VERSION"
  run -0 docker image inspect --format '{{json .Config.Labels}}' "$IMAGE:$VERSION"
  assert_output --partial "\"told\":\"$VERSION $COMMIT\""
  assert_output --partial "\"org.opencontainers.image.revision\":\"$COMMIT\""
  assert_output --partial "\"org.opencontainers.image.version\":\"$VERSION\""
}

@test "without a version it is that of the tag at the commit, and else the commit alone" {
  run -0 --separate-stderr build --json
  assert_regex "$output" "^\{\"version\":\"$SHORT\",\"commit\":\"$COMMIT\",\"images\":\[\{\"image\":\"$IMAGE:$SHORT@sha256:.*\",\"tags\":\[\"$SHORT\"\]"
  git tag --annotate --message Release "v$VERSION"
  run -0 --separate-stderr build --json
  assert_regex "$output" "^\{\"version\":\"$VERSION\""
}

@test "✗ always latest: nothing is pushed by that name, and it is refused as a version" {
  run -0 build "$VERSION"
  run -0 pushed
  refute_output --partial latest
  run -2 --separate-stderr build latest
  assert_regex "$stderr" 'error: latest cannot be the version of an image'
  run -2 --separate-stderr build 1.0.0+5
  assert_regex "$stderr" 'error: 1.0.0.5 cannot be the version of an image'
}

@test "what is not committed is refused, and --allow-dirty says so in every tag" {
  echo changed >app
  run -1 --separate-stderr build "$VERSION"
  assert_regex "$stderr" 'error: not committed: app. Next: commit it; to build an image to try out: --allow-dirty'
  run -0 --separate-stderr build "$VERSION" --allow-dirty
  assert_regex "$output" ":$VERSION-dirty@"
  assert_regex "$(pushed)" "$(tags "$VERSION-dirty" "$SHORT-dirty")"
}

@test "several images are built in their directories, and pushed when all are built" {
  mkdir backend web
  cp Dockerfile app backend
  cp app web
  printf 'FROM scratch\nCOPY missing /\n' >web/Dockerfile
  commit
  ENV+=(IMAGE="$IMAGE,$IMAGE-ssr" BUILD_CONTEXT=backend,web)
  run -1 --separate-stderr build "$VERSION"
  assert_regex "$stderr" 'error: docker exited with 1'
  refute [ "$(pushed | grep -cF "$VERSION")" != 0 ]
  cp Dockerfile web/Dockerfile
  commit
  run -0 --separate-stderr build "$VERSION"
  assert_line --index 0 --regexp "^$IMAGE:$VERSION@sha256:"
  assert_line --index 1 --regexp "^$IMAGE-ssr:$VERSION@sha256:"
  assert_regex "$(pushed "$NAME-ssr")" "$VERSION"
}

@test "GitHub's later steps get the image and its version" {
  ENV+=(GITHUB_ACTIONS=true GITHUB_OUTPUT="$BATS_TEST_TMPDIR/output")
  touch "$BATS_TEST_TMPDIR/output"
  run -0 --separate-stderr build "$VERSION"
  run -0 cat "$BATS_TEST_TMPDIR/output"
  assert_output --partial "$IMAGE:$VERSION@sha256:"
  assert_output --partial "$VERSION"
}

@test "the token of ECR is in no argument, and in no folder when the run has ended" {
  run -0 --separate-stderr build "$VERSION" --verbose
  assert_regex "$stderr" "DOCKER_CONFIG=[^ ]*/opsbook-docker-[^ ]* docker login --username AWS --password-stdin $SANDBOX_REGISTRY"
  assert_equal "$(find /tmp -maxdepth 1 -name 'opsbook-docker-*' -newer "$WORK_DIR/app")" ""
  [ ! -e "$HOME/.docker/config.json" ]
}

@test "the same commit twice is one image, that is not built again" {
  run -0 --separate-stderr build "$VERSION"
  local first=$output
  run -0 --separate-stderr build "$VERSION"
  assert_output "$first"
  assert_regex "$stderr" "= $first is pushed already"
}

@test "a version that another commit has is refused" {
  run -0 build "$VERSION"
  echo other >app
  commit
  run -1 --separate-stderr build "$VERSION"
  assert_regex "$stderr" "error: $IMAGE:$VERSION is pushed already, and of another commit than $COMMIT. Next: release a higher version"
}

@test "a commit that was built before gets its version without being built again" {
  run -0 --separate-stderr build
  local digest=${output#*@}
  docker rmi --force "$IMAGE:$SHORT" >/dev/null
  run -0 --separate-stderr build "$VERSION"
  assert_output "$IMAGE:$VERSION@$digest"
  assert_regex "$stderr" "fetch $IMAGE:$SHORT, built before: done"
}

@test "✗ an arm64 image on an x86 target: a platform that Docker here cannot build for is refused" {
  docker buildx version >/dev/null 2>&1 && skip "buildx can build for others"
  ENV+=(IMAGE_PLATFORM=linux/arm64)
  run -2 --separate-stderr build "$VERSION"
  assert_regex "$stderr" 'error: IMAGE_PLATFORM is linux/arm64, and Docker here builds for linux/amd64 alone. Next: install buildx'
}

@test "images without a directory, or with a tag, and a directory without a Dockerfile are refused" {
  rm Dockerfile
  commit
  ENV+=(IMAGE="$IMAGE,$IMAGE-ssr")
  run -2 --separate-stderr build "$VERSION"
  assert_regex "$stderr" 'error: IMAGE names 2, BUILD_CONTEXT 1. Next: give each of IMAGE its directory'
  ENV+=(IMAGE="$IMAGE:1.0.0")
  run -2 --separate-stderr build "$VERSION"
  assert_regex "$stderr" 'error: IMAGE=.*: has a tag or a digest'
  ENV+=(IMAGE="$IMAGE")
  run -2 --separate-stderr build "$VERSION"
  assert_regex "$stderr" 'error: Dockerfile is not there. Next: run it in the checkout, or correct BUILD_CONTEXT'
}

@test "--dry-run shows the login, the build and the pushes, and does none" {
  run -0 --separate-stderr build "$VERSION" --dry-run
  assert_output ""
  assert_regex "$stderr" "docker login --username AWS --password-stdin"
  assert_regex "$stderr" "docker (buildx )?build .*--build-arg VERSION=$VERSION .*--tag $IMAGE:$VERSION --tag $IMAGE:$SHORT \."
  assert_regex "$stderr" "docker push $IMAGE:$VERSION"
  assert_equal "$(docker images --quiet "$IMAGE")" ""
}

@test "a push that is refused says which permissions it takes" {
  ecr '{"refusePush":true}'
  run -1 --separate-stderr build "$VERSION"
  ecr '{"refusePush":false}'
  assert_regex "$stderr" "error: push of $IMAGE:$SHORT failed: these credentials may not push. Next: allow ecr:InitiateLayerUpload"
  refute [ "$(pushed | grep -cF "$VERSION")" != 0 ]
}

@test "a token that expires in the middle of the push is asked for once more" {
  ecr '{"expireAfter":3}'
  run -0 --separate-stderr build "$VERSION" --verbose
  assert_equal "$(grep -c 'docker login' <<<"$stderr")" 2
  assert_regex "$(pushed)" "$VERSION"
}

@test "a repository that is not there is told as that" {
  ENV+=(IMAGE="$SANDBOX_REGISTRY/not-there")
  run -1 --separate-stderr build "$VERSION"
  assert_regex "$stderr" 'failed: there is no such repository. Next: create it, or correct IMAGE'
  docker rmi --force "$SANDBOX_REGISTRY/not-there:$VERSION" >/dev/null
}

@test "a tag of an immutable repository that is another image already may not be moved" {
  ENV+=(IMAGE="$IMAGE-ssr")
  run -0 build "$VERSION"
  echo other >app
  commit
  docker build --quiet --tag "$IMAGE-ssr:$VERSION" . >/dev/null
  run -1 --separate-stderr build "$VERSION"
  assert_regex "$stderr" "error: $IMAGE-ssr:$VERSION is pushed already"
}

@test "SIGTERM during the build ends it, and leaves no login behind" {
  printf 'FROM scratch\nCOPY app /app\n' >Dockerfile
  head -c 100000000 /dev/zero >app
  start_opsbook deploy/build-image "$VERSION" --allow-dirty
  wait_for grep -qE 'Sending build context|transferring context' "$ERR"
  kill "$PID"
  assert_ends 143
  assert_equal "$(find /tmp -maxdepth 1 -name 'opsbook-docker-*' -newer "$WORK_DIR/Dockerfile")" ""
  refute [ "$(pushed | grep -cF "$VERSION")" != 0 ]
}
