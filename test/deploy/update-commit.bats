#!/usr/bin/env bats
# A commit of the checkout in the app's directory, built on the host, as bloaty is deployed.
bats_require_minimum_version 1.5.0

load world

# The remote that the host clones, and the operator's own clone, where the next commits are made.
setup_file() {
  app_up nginx
  export GIT_CONFIG_GLOBAL="$BATS_FILE_TMPDIR/gitconfig" GIT_CONFIG_SYSTEM=/dev/null
  git config --global user.name tests
  git config --global user.email tests@example.org
  git config --global init.defaultBranch main
  export REMOTE="$BATS_FILE_TMPDIR/remote.git" CLONE="$BATS_FILE_TMPDIR/clone"
  git init --quiet --bare "$REMOTE"
  git clone --quiet "$REMOTE" "$CLONE" 2>/dev/null
  cp "$APP_DIR"/{docker-compose.yml,proxy.yml,nginx.conf} "$CLONE"
  printf '.env\n' >"$CLONE/.gitignore"
  sed -i 's/^    image: \${IMAGE}:1.0.0/&\n    build: ./' "$CLONE/docker-compose.yml"
  printf 'ARG VERSION=none\nFROM sandbox/web:1.0.0\nARG VERSION\nENV APP_VERSION=${VERSION}\nCOPY page.txt /app/\n' >"$CLONE/Dockerfile"
  commit one
  (cd "$APP_DIR" && git init --quiet && git remote add origin "$REMOTE" && git fetch --quiet && git reset --quiet --hard origin/main &&
    git branch --quiet --set-upstream-to origin/main)
  export DOCKER_BUILDKIT=0 COMPOSE_DOCKER_CLI_BUILD=0
}

teardown_file() { app_down; }

# A commit in the operator's clone, pushed; prints its hash.
commit() {
  echo "$1" >"$CLONE/page.txt"
  git -C "$CLONE" add --all
  git -C "$CLONE" commit --quiet --message "$1"
  git -C "$CLONE" push --quiet
  git -C "$CLONE" rev-parse HEAD
}

page() { docker exec "$(docker ps --quiet --filter "label=com.docker.compose.project=$APP" --filter label=com.docker.compose.service=web)" cat /app/page.txt; }

@test "✗ up -d does not rebuild: a commit is built under a name of its own, and is what answers" {
  local sha
  sha=$(commit two)
  run -0 --separate-stderr opsbook update-deployment --commit "$sha"
  assert_equal "$(running)" "web $IMAGE:${sha:0:12} worker $IMAGE:${sha:0:12}"
  assert_equal "$(page)" two
  assert_equal "$(git -C "$APP_DIR" status --porcelain --untracked-files=no)" ""
}

@test "R1: --commit main is what was pushed to main, not what the clone has of it" {
  local sha
  sha=$(commit pushed)
  run -0 --separate-stderr opsbook update-deployment --commit main
  assert_equal "$(running)" "web $IMAGE:${sha:0:12} worker $IMAGE:${sha:0:12}"
  assert_equal "$(page)" pushed
  assert_equal "$(records version commit | tail -1)" "${sha:0:12} $sha"
  # The next tests count from here.
  sha=$(commit two)
  run -0 opsbook update-deployment --commit main
}

@test "✗ git checkout COMMIT leaves a detached HEAD: after a rollback HEAD is on its branch, and git pull leads on" {
  local sha
  sha=$(commit three)
  run -0 opsbook update-deployment --commit "$sha"
  run -0 opsbook rollback --yes
  assert_equal "$(page)" two
  assert_equal "$(cat "$APP_DIR/page.txt")" two
  assert_equal "$(git -C "$APP_DIR" symbolic-ref --short HEAD)" main
  run -0 git -C "$APP_DIR" pull --quiet
  assert_equal "$(git -C "$APP_DIR" rev-parse HEAD)" "$sha"
}

@test "a commit that does not build changes nothing" {
  git -C "$APP_DIR" fetch --quiet
  local before sha
  before=$(running)
  echo 'RUN exit 9' >>"$CLONE/Dockerfile"
  sha=$(commit broken)
  run -1 --separate-stderr opsbook update-deployment --commit "$sha"
  assert_equal "$(running)" "$before"
  [ ! -e "$APP_DIR/.opsbook/build" ]
  git -C "$CLONE" revert --no-edit HEAD >/dev/null && git -C "$CLONE" push --quiet
}

@test "what would fail is found before: local changes, a commit of another branch, one that is not there" {
  echo changed >>"$APP_DIR/nginx.conf"
  run -1 --separate-stderr opsbook update-deployment --commit main
  [[ $stderr == *"has changes that are in no commit: M nginx.conf"* ]] || fail "$stderr"
  git -C "$APP_DIR" checkout --quiet nginx.conf
  run -2 --separate-stderr opsbook update-deployment --commit 0123456789ab
  [[ $stderr == *"has no commit 0123456789ab"* ]] || fail "$stderr"
  git -C "$CLONE" switch --quiet --create other
  git -C "$CLONE" commit --quiet --allow-empty --message other
  git -C "$CLONE" push --quiet origin other
  run -2 --separate-stderr opsbook update-deployment --commit "$(git -C "$CLONE" rev-parse HEAD)"
  [[ $stderr == *"is not on origin/main"* ]] || fail "$stderr"
}
