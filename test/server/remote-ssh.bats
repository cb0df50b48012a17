#!/usr/bin/env bats
# The app is looked after over ssh.
bats_require_minimum_version 1.5.0
load remote

setup() { over_ssh; }
teardown() { end_started; }
teardown_file() { on_host sh -c 'for name in bash tcsh fish; do userdel --force --remove "as-$name"; done' >/dev/null 2>&1 || true; }

@test "status tells of every container" {
  run -0 remote status
  for service in db nginx redis web worker; do assert_line --regexp " $service +running +Up "; done
  run -0 --separate-stderr remote status --json
  assert_equal "$(jq -r 'map(select(.service == "web"))[0].health' <<<"$output")" healthy
}

@test "exec: words stay words, whatever is in them (G2: argv joined with blanks)" {
  run -0 --separate-stderr remote exec printf '[%s]\n' "a  b" "o'brien" '$HOME' '"q"' '; id' '*' '' '-n'
  assert_output "$(printf '[%s]\n' "a  b" "o'brien" '$HOME' '"q"' '; id' '*' '' '-n')"
  assert_equal "$stderr" ""
}

@test "exec: a single word with blanks is a line for the container's shell" {
  run -0 remote exec 'echo $((6 * 7)) | tr 4 5'
  assert_output 52
}

@test "exec: a command that fails fails the script, and says with what code and where" {
  run -1 --separate-stderr remote exec sh -c 'echo seen; echo bad luck >&2; exit 255'
  assert_output seen
  assert_regex "$stderr" "127.0.0.1: docker exited with 255: bad luck"
}

@test "binary output arrives byte for byte" {
  remote exec head -c 100000 /bin/sh >"$BATS_TEST_TMPDIR/there"
  remote exec sha256sum /bin/sh >/dev/null
  assert_equal "$(sha256sum <"$BATS_TEST_TMPDIR/there")" "$(remote exec sh -c 'head -c 100000 /bin/sh | sha256sum')"
}

# Another name for the host's user, with this login shell and a profile file that prints a line.
as_with() {
  on_host sh -s "$@" <<'SH'
    set -e
    id "as-$1" >/dev/null 2>&1 || useradd --create-home --non-unique --uid 1000 --gid ec2-user \
      --groups docker,sudo --shell "$(command -v "$1")" "as-$1"
    mkdir -p "/home/as-$1/.config/fish"
    cd "/home/as-$1"
    printf 'echo "Welcome back"\n%s\n' "$3" >"$2"
    chown -R ec2-user .
SH
  export TARGET="ssh://as-$1@${SANDBOX_SSH#*@}"
}

# A command's words, output, input and exit code, as they are with sh.
is_as_with_sh() {
  run -0 --separate-stderr remote exec printf '[%s]\n' "a  b" "o'brien" '$HOME' '"q"' '; id' '!!' '' 'line
break'
  assert_output "$(printf '[%s]\n' "a  b" "o'brien" '$HOME' '"q"' '; id' '!!' '' 'line
break')"
  assert_equal "$stderr" ""
  run -0 --separate-stderr remote status --json
  assert_equal "$(jq -r 'map(select(.service == "web"))[0].health' <<<"$output")" healthy
  run -0 --separate-stderr remote create-user me@example.org --password-stdin <<<'Hist-Secret-9'
  assert_output 'me@example.org 13'
  run -1 --separate-stderr remote shell 'echo seen; echo bad luck >&2; exit 7'
  assert_output seen
  assert_regex "$stderr" '127.0.0.1: sh exited with 7: bad luck'
}

@test "F9: whatever the user's login shell is, and whatever its profile prints" {
  export REMOTE_CREATE_USER='sh -c '\''read -r p; echo "$1 $(printf %s "$p" | wc -c)"'\'' sh'
  as_with bash .bashrc ''
  is_as_with_sh
  as_with tcsh .tcshrc ''
  is_as_with_sh
  as_with fish .config/fish/config.fish ''
  is_as_with_sh
}

@test "F9: Ctrl-C ends the command also where the login shell is tcsh" {
  as_with tcsh .tcshrc ''
  "$NODE" "$REPO/scripts/server/remote.ts" shell sleep 77 >"$BATS_TEST_TMPDIR/out" 2>&1 3>&- &
  PID=$!
  STARTED+=("$PID")
  runs() { on_host pgrep -fx 'sleep 77' >/dev/null; }
  wait_for runs
  kill -INT "$PID"
  assert_ends 130
  ended() { ! runs; }
  wait_for ended
}

@test "F9: a login shell that ends before our command does not pass for a success" {
  as_with bash .bashrc 'exit 0'
  run -1 remote exec true
  assert_output --partial 'did not run true: Welcome back'
  on_host usermod --shell /usr/sbin/nologin as-bash
  run -1 remote exec true
  assert_output --partial 'did not run true: This account is currently not available.'
}

@test "F9: a terminal or a command that the user's own ssh configuration asks for is not had" {
  mkdir "$BATS_TEST_TMPDIR/bin"
  printf 'RequestTTY force\nRemoteCommand echo instead\n' >"$BATS_TEST_TMPDIR/config"
  printf '#!/bin/sh\nexec %s -F "%s" "$@"\n' "$(command -v ssh)" "$BATS_TEST_TMPDIR/config" >"$BATS_TEST_TMPDIR/bin/ssh"
  chmod +x "$BATS_TEST_TMPDIR/bin/ssh"
  PATH="$BATS_TEST_TMPDIR/bin:$PATH" run -0 --separate-stderr remote shell printf 'a\nb\n'
  assert_output $'a\nb'
}

@test "shell runs on the host, as root" {
  run -0 remote shell id -u
  assert_output 0
}

@test "logs: of a service, by age and pattern" {
  run -0 remote exec sh -c "echo 'needle 1' > /proc/1/fd/1; echo 'hay' > /proc/1/fd/1; echo 'needle 2' > /proc/1/fd/1"
  run -0 --separate-stderr remote logs web --since 1m --grep 'needle \d'
  assert_line --partial 'needle 1'
  assert_line --partial 'needle 2'
  refute_line --partial hay
  run -0 --separate-stderr remote logs web --tail 1 --json
  assert_equal "$(jq -r '.[0].stdout' <<<"$output" | grep -c web)" 1
}

@test "logs --follow goes on until it is interrupted, and leaves nothing running on the host" {
  OUT=$(mktemp "$BATS_TEST_TMPDIR/out.XXXX")
  "$NODE" "$REPO/scripts/server/remote.ts" logs web --follow --tail 0 >"$OUT" 2>&1 3>&- &
  PID=$!
  STARTED+=("$PID")
  tick() { on_host docker exec bloaty-web-1 sh -c 'echo tick > /proc/1/fd/1' && grep -q tick "$OUT"; }
  wait_for tick
  kill -INT "$PID"
  assert_ends 130
  none_left() { ! on_host pgrep -f 'logs --no-color.*--follow' >/dev/null; }
  wait_for none_left
}

@test "restart waits until the service is healthy again" {
  local before after
  before=$(on_host docker inspect -f '{{.State.StartedAt}}' bloaty-web-1)
  run -0 remote restart web
  after=$(on_host docker inspect -f '{{.State.StartedAt}} {{.State.Health.Status}}' bloaty-web-1)
  assert_regex "$after" ' healthy$'
  refute [ "$before" = "${after% *}" ]
}

@test "a command of the app's own gets its operands as they are (row 24: quote in the e-mail)" {
  export REMOTE_GREET='printf "hello <%s>\n"'
  run -0 remote greet "o'brien@example.org"
  assert_output "hello <o'brien@example.org>"
  run -0 remote greet "x@y'; id > /tmp/INJECTED; echo '"
  assert_output "hello <x@y'; id > /tmp/INJECTED; echo '>"
  run ! on_host test -e /tmp/INJECTED
}

@test "create-user: the password goes by standard input, and is in no argument" {
  export REMOTE_CREATE_USER='sh -c '\''read -r p; echo "$1 $(printf %s "$p" | wc -c) $(tr "\0" " " < /proc/$$/cmdline)"'\'' sh'
  run -0 --separate-stderr remote create-user me@example.org --password-stdin <<<'Hist-Secret-9'
  assert_output --partial 'me@example.org 13 '
  refute_output --partial Hist
}

@test "F29: create-user waits for the line of the password, and not for the end of its input" {
  export REMOTE_CREATE_USER='wc -c; echo'
  mkfifo "$BATS_TEST_TMPDIR/input"
  sleep 300 >"$BATS_TEST_TMPDIR/input" 3>&- &
  STARTED+=("$!")
  (echo Hist-Secret-9 >"$BATS_TEST_TMPDIR/input") 3>&- &
  (remote create-user me@example.org --password-stdin <"$BATS_TEST_TMPDIR/input" >"$BATS_TEST_TMPDIR/out" 2>&1 3>&-) &
  PID=$!
  STARTED+=("$PID")
  assert_ends 0
  assert_equal "$(head -n 1 "$BATS_TEST_TMPDIR/out")" 14
}

@test "create-user without a terminal and without --password-stdin refuses" {
  export REMOTE_CREATE_USER=cat
  run -2 remote create-user me@example.org </dev/null
  assert_output --partial 'pass --password-stdin'
}

@test "create-user on a terminal asks without an echo; an empty answer generates one and shows it once" {
  export REMOTE_CREATE_USER='sh -c '\''read -r p; echo "length $(printf %s "$p" | wc -c)"'\'' sh'
  ENV+=(APP="$APP" APP_DIR="$APP_DIR" TARGET="$TARGET" SSH_IDENTITY_FILE="$SSH_IDENTITY_FILE")
  ENV+=(SSH_KNOWN_HOSTS="$SSH_KNOWN_HOSTS" REMOTE_CREATE_USER="$REMOTE_CREATE_USER")
  start_on_terminal server/remote create-user me@example.org
  wait_for grep -qF 'password of me@example.org' "$SCREEN"
  keys 'Typed-Secret-1\r'
  assert_ends 0
  grep -qF 'length 14' "$SCREEN"
  run ! grep -F Typed-Secret "$SCREEN"
  start_on_terminal server/remote create-user me@example.org
  wait_for grep -qF 'password of me@example.org' "$SCREEN"
  keys '\r'
  assert_ends 0
  grep -qF 'length 24' "$SCREEN"
  grep -qE 'password of me@example.org: [A-Za-z0-9_-]{24}' "$SCREEN"
}

@test "migrate runs the command of the settings; without one it says what to set" {
  run -2 remote migrate
  assert_output --partial 'MIGRATE_COMMAND is not set'
  # ✗ G2: a list of commands that ends with an echo is a success whatever came before.
  MIGRATE_COMMAND='echo migrating; exit 3; echo' run -1 remote migrate
  assert_output --partial migrating
  assert_output --partial 'exited with 3'
}

@test "several hosts: each line says whose it is, and one that fails fails the whole" {
  local port=${SANDBOX_SSH##*:} folder=/tmp/remote-$RANDOM
  sed "s/127.0.0.1/localhost/" "$SSH_KNOWN_HOSTS" >"$BATS_TEST_TMPDIR/both"
  cat "$SSH_KNOWN_HOSTS" >>"$BATS_TEST_TMPDIR/both"
  export SSH_KNOWN_HOSTS=$BATS_TEST_TMPDIR/both TARGET="ssh://$SANDBOX_SSH,ssh://ec2-user@localhost:$port"
  run -0 --separate-stderr remote shell echo here
  assert_line 'ec2-user@127.0.0.1 | here'
  assert_line 'ec2-user@localhost | here'
  assert_regex "$stderr" 'ec2-user@localhost +ok'
  # Both are the same host: the folder is there already for whoever comes second.
  run -1 remote shell mkdir "$folder"
  assert_line --regexp 'ec2-user@.* +ok '
  assert_line --regexp 'ec2-user@.* +exit 1 '
  assert_line --regexp 'error: ec2-user@.*: mkdir exited with 1: .*File exists'
  on_host rmdir "$folder"
}

@test "of several hosts, those that cannot be reached are named before anything runs" {
  run -1 remote --target "ssh://$SANDBOX_SSH,ssh://nobody-here@127.0.0.1:${SANDBOX_SSH##*:}" shell echo here
  assert_output --partial 'nobody-here@127.0.0.1 cannot be reached: it does not accept our key'
  refute_line here
}

@test "a dry run says what it would run, and runs nothing" {
  run -0 remote restart web --dry-run
  assert_output --regexp 'would run on .*docker compose restart web'
}

@test "every command of docs/remote.md runs as it stands" {
  export REMOTE_CREATE_INVITE='echo invited' REMOTE_CREATE_USER='cat > /dev/null; echo made' MIGRATE_COMMAND='echo migrated'
  sed -n '/^```sh$/,/^```$/{/^```/!p}' "$REPO/docs/remote.md" >"$BATS_TEST_TMPDIR/commands"
  assert_equal "$(grep -c 'scripts/server/remote.ts' "$BATS_TEST_TMPDIR/commands")" 10
  cd "$REPO"
  run -0 bash -e "$BATS_TEST_TMPDIR/commands"
  assert_line invited
  assert_line migrated
}

@test "an unknown host key is refused, and said to be one" {
  SSH_KNOWN_HOSTS=/dev/null run -1 remote status
  assert_output --partial 'its host key is not known here'
}

@test "a changed host key is refused, and said to be one" {
  ssh-keygen -q -t ed25519 -N '' -f "$BATS_TEST_TMPDIR/other"
  echo "[127.0.0.1]:${SANDBOX_SSH##*:} $(cut -d' ' -f1,2 "$BATS_TEST_TMPDIR/other.pub")" >"$BATS_TEST_TMPDIR/changed"
  SSH_KNOWN_HOSTS=$BATS_TEST_TMPDIR/changed run -1 remote status
  assert_output --partial 'its host key differs from the known one'
}

@test "a wrong key, a closed port, a name that there is none of" {
  ssh-keygen -q -t ed25519 -N '' -f "$BATS_TEST_TMPDIR/wrong"
  SSH_IDENTITY_FILE=$BATS_TEST_TMPDIR/wrong run -1 remote status
  assert_output --partial 'it does not accept our key'
  run -1 remote status --target ssh://ec2-user@127.0.0.1:9
  assert_output --partial 'nothing listens there'
  run -1 remote status --target ssh://ec2-user@nowhere.invalid
  assert_output --partial 'its name is not known'
}

@test "a connection that is lost while a command runs is told as that" {
  "$NODE" "$REPO/scripts/server/remote.ts" shell sleep 79 >"$BATS_TEST_TMPDIR/out" 2>&1 3>&- &
  PID=$!
  STARTED+=("$PID")
  runs() { on_host pgrep -fx 'sleep 79' >/dev/null; }
  wait_for runs
  on_host pkill -9 -f '^sshd(-session)?: ec2-user'
  assert_ends 1
  grep -F 'the connection was lost while sleep ran' "$BATS_TEST_TMPDIR/out"
  on_host pkill -fx 'sleep 79'
}

@test "targets that are none are refused together with what else is wrong" {
  TARGET=ftp://x APP='A B' run -2 remote status
  assert_output --partial '"ftp://x" is not one of local'
  assert_output --partial 'APP=A B'
}
