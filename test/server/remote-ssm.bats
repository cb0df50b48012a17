#!/usr/bin/env bats
# The app is looked after over SSM: an instance with a small compose app, and a fleet of three.
bats_require_minimum_version 1.5.0
load remote

setup_file() {
  (cd "$REPO" && npm run --silent sandbox -- up instance fleet >"$BATS_FILE_TMPDIR/exports")
  load_exports
  app_on "$SANDBOX_INSTANCE_CONTAINER"
  # Row 23, started now so that nothing waits for it: on a host of its own, which no test stops or loses.
  app_on "$SLOW_CONTAINER"
  over_ssm
  export TARGET="ssm://$SLOW_ID"
  (cd "$BATS_FILE_TMPDIR" && "$NODE" "$REPO/scripts/server/remote.ts" exec 'sleep 31; echo invited' >slow.out 2>slow.err 3>&-; echo $? >slow.code) 3>&- &
}

teardown_file() {
  load_exports
  wait_for test -e "$BATS_FILE_TMPDIR/slow.code"
  local container
  for container in "$SANDBOX_INSTANCE_CONTAINER" "$SLOW_CONTAINER"; do
    on "$container" docker rm --force --volumes codemonet-web-1 >/dev/null
    on "$container" rm -rf /opt/codemonet /opt/codemonet-backups
  done
}

setup() {
  load_exports
  over_ssm
}

teardown() {
  end_started
  curl -fsS -X DELETE "$AWS_ENDPOINT_URL/sandbox/ssm" >/dev/null
  # Whatever became of the test, the next one finds the instance running.
  engine unpause "$SANDBOX_INSTANCE_CONTAINER" >/dev/null 2>&1 || true
}

load_exports() {
  eval "$(cat "$BATS_FILE_TMPDIR/exports")"
  SLOW_CONTAINER=${SANDBOX_FLEET_CONTAINERS%%,*} SLOW_ID=${SANDBOX_FLEET_IDS%%,*}
}

over_ssm() {
  export TARGET="ssm://$SANDBOX_INSTANCE_ID" APP=codemonet APP_DIR=/opt/codemonet
  export AWS_ACCESS_KEY_ID=$SANDBOX_OPERATOR_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY=$SANDBOX_OPERATOR_SECRET_ACCESS_KEY
  unset COMPOSE_FILE DOCKER_HOST
}

# A compose app of one service, which does nothing by itself.
app_on() {
  on "$1" sh -c 'mkdir -p /opt/codemonet && cat > /opt/codemonet/docker-compose.yml' <<'YAML'
services:
  web:
    image: sandbox/nginx:1.26
    init: true
    entrypoint: [sleep, infinity]
YAML
  on "$1" docker compose --project-directory /opt/codemonet up --detach --quiet-pull >/dev/null 2>&1
}

# The engine that the sandbox's hosts run on.
engine() { docker ${SANDBOX_DOCKER_HOST:+--host "$SANDBOX_DOCKER_HOST"} "$@"; }

# Runs a command in a container of the sandbox, past the scripts.
on() {
  local container=$1
  shift
  engine exec -i "$container" "$@"
}

fault() { curl -fsS -d "$1" "$AWS_ENDPOINT_URL/sandbox/ssm" >/dev/null; }

# All that SSM keeps of commands: their parameters, in plain text.
history() {
  AWS_ACCESS_KEY_ID=$SANDBOX_ADMIN_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY=$SANDBOX_ADMIN_SECRET_ACCESS_KEY \
    "$NODE" -e "
      import { SSMClient, paginateListCommands } from '@aws-sdk/client-ssm';
      for await (const page of paginateListCommands({ client: new SSMClient({}) }, {}))
        for (const c of page.Commands) console.log(JSON.stringify(c), c.Parameters.commands.join('\n').replaceAll(/[A-Za-z0-9+\/=]{16,}/g, (b) => b + ' ' + Buffer.from(b, 'base64')));
    " --input-type=module
}

@test "status, exec and shell, as over ssh" {
  run -0 remote status
  assert_line --regexp ' web +running +Up '
  run -0 --separate-stderr remote exec printf '[%s]\n' "a  b" "o'brien" '$HOME' ''
  assert_output "$(printf '[%s]\n' "a  b" "o'brien" '$HOME' '')"
  run -0 remote shell id -u
  assert_output 0
}

@test "row 22: output over 24,000 characters arrives whole" {
  run -0 --separate-stderr remote shell 'seq 1 6000'
  assert_output "$(seq 1 6000)"
}

@test "5 MB with multi-byte characters arrive whole" {
  local text='for i in $(seq 90000); do echo "Zeile $i: äöü — 日本語 — приве́т 🦀"; done'
  remote shell "$text" >"$BATS_TEST_TMPDIR/there"
  sh -c "$text" >"$BATS_TEST_TMPDIR/here"
  assert [ "$(wc -c <"$BATS_TEST_TMPDIR/here")" -gt 5000000 ]
  cmp "$BATS_TEST_TMPDIR/here" "$BATS_TEST_TMPDIR/there"
}

@test "binary output arrives byte for byte, by pages" {
  remote shell 'head -c 100000 /bin/bash' >"$BATS_TEST_TMPDIR/there"
  assert_equal "$(sha256sum <"$BATS_TEST_TMPDIR/there")" "$(on "$SANDBOX_INSTANCE_CONTAINER" sh -c 'head -c 100000 /bin/bash | sha256sum')"
}

@test "output is seen while the command runs" {
  start_remote shell 'echo first; while ! [ -e /tmp/go-on ]; do sleep 0.1; done; echo last; rm /tmp/go-on'
  wait_for grep -q first "$OUT"
  refute grep -q last "$OUT"
  on "$SANDBOX_INSTANCE_CONTAINER" touch /tmp/go-on
  assert_ends 0
  assert_equal "$(cat "$OUT")" "$(printf 'first\nlast')"
}

start_remote() {
  OUT=$(mktemp "$BATS_TEST_TMPDIR/out.XXXX") ERR=$OUT.err
  "$NODE" "$REPO/scripts/server/remote.ts" "$@" >"$OUT" 2>"$ERR" 3>&- &
  PID=$!
  STARTED+=("$PID")
}

@test "a command's exit code is told: 7, 255, killed by a signal" {
  run -1 remote shell 'echo why >&2; exit 7'
  assert_output --partial 'sh exited with 7: why'
  run -1 remote shell 'exit 255'
  assert_output --partial 'sh exited with 255'
  run -1 remote shell 'kill -KILL $$'
  assert_output --partial 'sh exited with 137'
}

@test "the first of several commands that fails is the failure (G2: the last command's code counts)" {
  MIGRATE_COMMAND='false && echo' run -1 remote migrate
  assert_output --partial 'exited with 1'
}

@test "Ctrl-C cancels the command" {
  start_remote shell sleep 83
  runs() { on "$SANDBOX_INSTANCE_CONTAINER" pgrep -fx 'sleep 83' >/dev/null; }
  wait_for runs
  kill -INT "$PID"
  assert_ends 130
  ended() { ! runs; }
  wait_for ended
}

@test "row 24: a quote in the e-mail is part of the e-mail" {
  export REMOTE_INVITE='printf "<%s>\n"'
  run -0 remote invite "o'brien@example.org"
  assert_output "<o'brien@example.org>"
  run -0 remote invite "x@y'; touch /tmp/INJECTED; echo '"
  on "$SANDBOX_INSTANCE_CONTAINER" test ! -e /tmp/INJECTED
}

@test "row 25: a password is in no history, no parameter that stays, and no process list" {
  export REMOTE_CREATE_USER='sh -c '\''read -r p; echo "$1 got $(printf %s "$p" | wc -c)"; tr "\0" " " < /proc/$$/cmdline'\'' sh'
  run -0 --separate-stderr remote create-user me@example.org --password-stdin <<<'Hist-Secret-9'
  assert_output --partial 'me@example.org got 13'
  refute_output --partial 'Hist-Secret'
  history >"$BATS_TEST_TMPDIR/history"
  grep -q me@example.org "$BATS_TEST_TMPDIR/history"
  run ! grep -c Hist-Secret "$BATS_TEST_TMPDIR/history"
  run -0 parameters
  refute_output --partial opsbook
}

parameters() {
  AWS_ACCESS_KEY_ID=$SANDBOX_ADMIN_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY=$SANDBOX_ADMIN_SECRET_ACCESS_KEY "$NODE" -e "
    import { SSMClient, DescribeParametersCommand } from '@aws-sdk/client-ssm';
    console.log(JSON.stringify((await new SSMClient({}).send(new DescribeParametersCommand({}))).Parameters.map((p) => p.Name)));
  " --input-type=module
}

@test "row 26: more than one instance: a look goes to all, what concerns the app to one, and it says to which" {
  run -0 --separate-stderr remote --target ssm://tag:Name=hermes shell hostname
  for n in 1 2 3; do assert_line --regexp "node$n \| node$n"; done
  export REMOTE_INVITE='echo'
  run remote invite me@example.org --target ssm://tag:Name=hermes
  assert_output --partial 'node1, the first of 3 hosts'
}

@test "row 26: a tag that matches nothing is an error" {
  run -1 remote status --target ssm://tag:Name=nobody
  assert_output --partial 'ssm://tag:Name=nobody matches no instance that is registered with SSM'
}

@test "of a fleet, the host on which it failed is named" {
  run -1 remote --target ssm://tag:Name=hermes shell '[ "$(hostname)" != node2 ]'
  assert_line --regexp 'node1 +ok'
  assert_line --regexp 'node2 +exit 1'
  assert_line --regexp 'error: .*node2: sh exited with 1'
}

@test "an instance that is not registered, and one that lost its connection" {
  fault "{\"unregistered\":[\"$SANDBOX_INSTANCE_ID\"]}"
  run -1 remote status
  assert_output --partial 'matches no instance that is registered with SSM'
  fault "{\"unregistered\":[],\"lost\":[\"$SANDBOX_INSTANCE_ID\"]}"
  run -1 remote status
  assert_output --partial 'does not answer SSM (ConnectionLost'
}

@test "an instance that is stopped halfway is told of, not waited for until the command expires" {
  start_remote shell sleep 88
  runs() { on "$SANDBOX_INSTANCE_CONTAINER" pgrep -fx 'sleep 88' >/dev/null; }
  wait_for runs
  engine pause "$SANDBOX_INSTANCE_CONTAINER"
  assert_ends 1
  engine unpause "$SANDBOX_INSTANCE_CONTAINER"
  grep -F "$SANDBOX_INSTANCE_ID was lost while the command ran" "$ERR"
  on "$SANDBOX_INSTANCE_CONTAINER" pkill -fx 'sleep 88'
}

@test "F29: an instance that tells nothing of a look at the output, and then answers again, does not keep the run" {
  start_remote shell 'echo first; while ! [ -e /tmp/go-on ]; do sleep 0.1; done; echo last; rm /tmp/go-on'
  wait_for grep -q first "$OUT"
  fault "{\"silent\":[\"$SANDBOX_INSTANCE_ID\"]}"
  SILENT_SINCE=$(date +%s)
  wait_for untold_look
  fault '{"silent":[]}'
  on "$SANDBOX_INSTANCE_CONTAINER" touch /tmp/go-on
  assert_ends 0
  assert_equal "$(cat "$OUT")" "$(printf 'first\nlast')"
}

# A look at the output that the instance does not answer: it began after the instance fell silent, or had not ended then
# and hangs since. A look takes no second.
untold_look() {
  local at
  at=$(aws_cli ssm list-commands --output json |
    jq -r '[.Commands[] | select(.Comment == "opsbook fetches output" and .Status == "InProgress") | .RequestedDateTime] | max')
  [ "$at" != null ] || return 1
  at=$(date -d "$at" +%s)
  [ "$at" -gt "$SILENT_SINCE" ] || [ "$(date +%s)" -gt "$((at + 5))" ]
}

@test "F26: update-deployment --backup over SSM is taken by the instance's own opsbook" {
  # Nothing of the instance is here: neither its directory nor a socket.
  assert [ ! -e /opt/codemonet ]
  on "$SANDBOX_INSTANCE_CONTAINER" sh -c 'cd /opt/codemonet && mkdir -p uploads && echo hello > uploads/file && cat > .env' <<'ENV'
APP=codemonet
APP_DIR=/opt/codemonet
BACKUP_STORE=file:///opt/codemonet-backups
BACKUP_DIRECTORIES=uploads
TARGET=ssh://nobody@127.0.0.1:9
ENV
  on "$SANDBOX_INSTANCE_CONTAINER" sh -c 'chown -R ec2-user /opt/codemonet; install -d -o ec2-user /opt/codemonet-backups'
  export OPSBOOK_DIR=$REPO IMAGE=sandbox/nginx BACKUP_STORE=file:///nowhere
  unset HEALTH_URL VERSION_URL
  # It ends behind the backup, and changes nothing that runs.
  MIGRATE_COMMAND=false run -1 --separate-stderr opsbook ../deploy/update-deployment 1.26 --backup
  local id
  id=$(on "$SANDBOX_INSTANCE_CONTAINER" find /opt/codemonet-backups -name manifest.json -printf '%h')
  assert_regex "$stderr" "drawing \| .* backup: backup ${id##*/}"
  assert_regex "$stderr" "update-deployment: back up: ${id##*/}"
  # As cron does it: all of it is the owner's of the app.
  assert_equal "$(on "$SANDBOX_INSTANCE_CONTAINER" find /opt/codemonet-backups ! -user ec2-user)" ""
  run -3 remote opsbook backup/list --max-age 0h
  assert_output --partial "${id##*/}"
  on "$SANDBOX_INSTANCE_CONTAINER" rm -rf /opt/codemonet/.env /opt/codemonet/.opsbook
}

@test "a throttled API is asked again" {
  fault '{"throttle":3}'
  run -0 remote shell echo through
  assert_output through
}

@test "who may not send commands is told which permission is missing" {
  AWS_ACCESS_KEY_ID=$SANDBOX_READER_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY=$SANDBOX_READER_SECRET_ACCESS_KEY run -1 remote status
  assert_output --partial 'use credentials that are allowed ssm:DescribeInstanceInformation'
}

@test "row 23: a command longer than 30 s is waited for, and its output shown" {
  wait_for test -e "$BATS_FILE_TMPDIR/slow.code"
  assert_equal "$(cat "$BATS_FILE_TMPDIR/slow.code")" 0
  assert_equal "$(cat "$BATS_FILE_TMPDIR/slow.out")" invited
}
