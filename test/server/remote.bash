# What the tests of remote management share: the sandbox's hosts, and how they are reached.
load ../helpers

# Runs a script of the area with the settings of the test.
opsbook() {
  local step=$1
  shift
  (cd "$BATS_TEST_TMPDIR" && exec "$NODE" "$REPO/scripts/server/$step.ts" "$@")
}

remote() { opsbook remote "$@"; }

# The host of bloaty by ssh, its key pinned.
over_ssh() {
  : "${SANDBOX_URL:?no sandbox: run the tests by npm test, or first: eval \"\$(npm run --silent sandbox)\"}"
  local port=${SANDBOX_SSH##*:}
  export TARGET="ssh://$SANDBOX_SSH" SSH_IDENTITY_FILE="$SANDBOX_SSH_KEY" SSH_KNOWN_HOSTS="$BATS_FILE_TMPDIR/known_hosts"
  [ -s "$SSH_KNOWN_HOSTS" ] || ssh-keyscan -p "$port" 127.0.0.1 >"$SSH_KNOWN_HOSTS" 2>/dev/null
  unset DOCKER_HOST
}

# Runs a command on the host, past the script.
on_host() { docker ${SANDBOX_DOCKER_HOST:+--host "$SANDBOX_DOCKER_HOST"} exec -i "$SANDBOX_HOST_CONTAINER" "$@"; }
