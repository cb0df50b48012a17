# What the tests of scripts share. A script starts from an environment that holds ENV and nothing else.
REPO=$(cd "${BASH_SOURCE[0]%/*}/.." && pwd)
NODE=$REPO/node_modules/node/bin/node
# Node strips types by itself, in half of tsx's time. What users type goes by tsx: test/script, cron, the tours.
LOADER=()
export NODE_COMPILE_CACHE=$REPO/node_modules/.cache/compiled
load "$REPO/node_modules/bats-support/load"
load "$REPO/node_modules/bats-assert/load"

# As it is before a test puts something in between.
SANDBOX_AWS_URL=${AWS_ENDPOINT_URL:-}

# A closed port in the place of AWS: what a test does not mean to reach, it does not reach.
ENV=(PATH="$REPO/node_modules/.bin:/usr/bin:/bin" HOME="$BATS_TEST_TMPDIR" AWS_ENDPOINT_URL=http://127.0.0.1:9
  NODE_COMPILE_CACHE="$NODE_COMPILE_CACHE")

# Sets COMMAND to what runs a script, which is named as area/script or by its file; in WORK_DIR, or else in the test's
# own directory.
command_of() {
  local file=$1
  shift
  [ -f "$file" ] || file=$REPO/scripts/$file.ts
  COMMAND=(env -i --chdir "${WORK_DIR:-$BATS_TEST_TMPDIR}" "${ENV[@]}" "$NODE" "${LOADER[@]}" "$file" "$@")
}

# Runs a script.
opsbook() {
  command_of "$@"
  "${COMMAND[@]}"
}

# The same in the background: PID is the script's own, and OUT and ERR are what it wrote.
start_opsbook() {
  OUT=$(mktemp "$BATS_TEST_TMPDIR/out.XXXX") ERR=$(mktemp "$BATS_TEST_TMPDIR/err.XXXX")
  command_of "$@"
  "${COMMAND[@]}" >"$OUT" 2>"$ERR" 3>&- &
  PID=$!
  STARTED+=("$PID")
}

# The same on a terminal of its own, 100 columns wide: SCREEN is what it shows, and `keys` types into it. PID is that
# of `script`, which ends as the script does.
start_on_terminal() {
  SCREEN=$(mktemp "$BATS_TEST_TMPDIR/screen.XXXX")
  local typed=$SCREEN.keys words
  mkfifo "$typed"
  ENV+=(TERM=xterm)
  command_of "$@"
  printf -v words '%q ' "${COMMAND[@]}"
  script --quiet --return --flush --command "stty cols ${COLUMNS_SHOWN:-100}; exec $words" "$SCREEN" <"$typed" >"$SCREEN.out" 2>&1 3>&- &
  PID=$!
  STARTED+=("$PID")
  exec {KEYS}>"$typed"
}

keys() { printf '%b' "$1" >&"$KEYS"; }

# What was started last ends by itself, with this exit code.
assert_ends() {
  local code=0
  wait_for gone "$PID"
  wait "$PID" || code=$?
  assert_equal "$code" "$1"
}

# Ends what the test started and left running.
end_started() {
  local pid
  for pid in "${STARTED[@]}"; do
    kill -9 "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  done
}

# The AWS CLI in the sandbox's AWS, as one who may do all. It starts in a fifth of the time of another, and reaches no file of ours.
aws_cli() {
  printf '%s\0' "$SANDBOX_ADMIN_ACCESS_KEY_ID" "$SANDBOX_ADMIN_SECRET_ACCESS_KEY" "$@" |
    curl --silent --show-error --fail-with-body --data-binary @- "$SANDBOX_AWS_URL/sandbox/aws"
}

# Waits until a command succeeds, a minute at most: what takes a moment takes longer on a busy machine.
wait_for() { wait_seconds 60 "$@"; }

# The same for so many seconds. What takes long is asked for less and less often: a machine that asks does nothing else.
wait_seconds() {
  local deadline=$((SECONDS + $1)) pause=5
  shift
  until "$@"; do
    ((SECONDS < deadline)) || { echo "waited in vain for: $*" >&2; return 1; }
    sleep "0.$(printf %02d "$pause")"
    ((pause += pause < 25))
  done
}

# As wait_for, ten minutes at most: for what installs or undoes much.
wait_for_minutes() {
  local i
  for i in {1..9}; do ! wait_for "$@" 2>/dev/null || return 0; done
  wait_for "$@"
}

# Whether a process is gone; a zombie is.
gone() { [ ! -e "/proc/$1" ] || grep -q '^State:.*Z' "/proc/$1/status" 2>/dev/null; }
