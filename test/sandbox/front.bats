#!/usr/bin/env bats
# The front of the sandbox's AWS does what AWS does: commands really run on instances, images are really pushed and pulled.
bats_require_minimum_version 1.5.0

REPO=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)
load "$REPO/node_modules/bats-support/load"
load "$REPO/node_modules/bats-assert/load"

setup_file() {
  # Other tests may have set the droplet up.
  "$REPO/node_modules/node/bin/node" --input-type=module --eval "import { bareDroplet } from '$REPO/test/sandbox/tour/droplet.ts'; await bareDroplet()"
  npm --prefix "$REPO" run --silent sandbox -- up fleet instance droplet >"$BATS_FILE_TMPDIR/exports"
}

setup() {
  eval "$(cat "$BATS_FILE_TMPDIR/exports")"
  export AWS_ACCESS_KEY_ID=$SANDBOX_OPERATOR_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY=$SANDBOX_OPERATOR_SECRET_ACCESS_KEY
}

teardown() {
  curl -fsS -X DELETE "$AWS_ENDPOINT_URL/sandbox/ssm" "$AWS_ENDPOINT_URL/sandbox/ecr" >/dev/null
}

# Calls AWS; ANSWER is the answer.
aws_call() {
  ANSWER=$("$REPO/node_modules/node/bin/node" "$REPO/test/sandbox/cloud/call.ts" "$@")
}

# Runs a script on the one instance by SSM; more of SendCommand's parameters may follow, as JSON.
on_instance() {
  local input
  input=$(jq -n --arg id "$SANDBOX_INSTANCE_ID" --arg script "$1" --argjson more "${2-"{}"}" \
    '{InstanceIds: [$id], DocumentName: "AWS-RunShellScript", Parameters: {commands: [$script]}} * $more')
  aws_call ssm run "$input"
}

# What jq makes of the answer is this.
assert_answer() {
  run jq -r "$1" <<<"$ANSWER"
  assert_output "$2"
}

fault() { curl -fsS -d "$2" "$AWS_ENDPOINT_URL/sandbox/$1" >/dev/null; }
engine() { docker ${SANDBOX_DOCKER_HOST:+--host "$SANDBOX_DOCKER_HOST"} "$@"; }
as_admin() { export AWS_ACCESS_KEY_ID=$SANDBOX_ADMIN_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY=$SANDBOX_ADMIN_SECRET_ACCESS_KEY; }

@test "a command runs as root on the instance, with the agent's environment" {
  on_instance 'id -u; hostname; pwd; echo "home: ${HOME-none}"; tty; echo bad >&2; false; (exit 7)'
  assert_answer '.invocations[0].StandardOutputContent' "0
drawing
/usr/bin
home: none
not a tty"
  assert_answer '.invocations[0] | [.Status, .ResponseCode, .StandardErrorContent]|@json' '["Failed",7,"bad\nfailed to run commands: exit status 7"]'
}

@test "an invocation comes into being, waits, runs without showing its output, and ends" {
  fault ssm '{"invisibleMs":300,"deliveryMs":700}'
  on_instance 'echo early; sleep 0.4'
  assert_answer '[.sent.Status, .sent.TargetCount]|@json' '["Pending",1]'
  assert_answer '.invocations[0].seen|@json' '["Pending","InProgress","Success"]'
  assert_answer '.invocations[0].StandardOutputContent' early
}

@test "an invocation can not be asked for right after the command was sent" {
  fault ssm '{"invisibleMs":5000}'
  aws_call ssm SendCommand "{\"InstanceIds\":[\"$SANDBOX_INSTANCE_ID\"],\"DocumentName\":\"AWS-RunShellScript\",\"Parameters\":{\"commands\":[\"true\"]}}"
  aws_call ssm GetCommandInvocation "$(jq -c "{CommandId: .Command.CommandId, InstanceId: \"$SANDBOX_INSTANCE_ID\"}" <<<"$ANSWER")"
  assert_answer .error InvocationDoesNotExist
}

@test "output is cut at 24,000, 8,000 and 2,500 characters, not bytes" {
  on_instance 'yes é | tr -d "\n" | head -c 60000; yes x | tr -d "\n" | head -c 9000 >&2'
  assert_answer '.invocations[0] | [(.StandardOutputContent|length), .StandardOutputContent[23999:], (.StandardErrorContent|length)]|@json' '[24000,"é",8000]'
  assert_answer '.listed.CommandInvocations[0].CommandPlugins[0].Output | length' 2500
}

@test "the parameters of a command are kept, and shown to whoever may list commands" {
  on_instance 'echo not-a-good-place-for-a-secret'
  assert_answer '.command.Parameters.commands[0]' 'echo not-a-good-place-for-a-secret'
}

@test "a cancelled command is killed with its children" {
  CANCEL_WHEN=InProgress on_instance 'sleep 987654 & echo $! >/tmp/cancelled; wait'
  assert_answer '[.invocations[0].Status, .command.StatusDetails]|@json' '["Cancelled","Cancelled"]'
  run engine exec "$SANDBOX_INSTANCE_CONTAINER" sh -c '! kill -0 "$(cat /tmp/cancelled)"'
  assert_success
}

@test "a command is killed at its execution timeout" {
  on_instance 'echo begun; exec sleep 600' '{"Parameters":{"executionTimeout":["1"]}}'
  assert_answer '.invocations[0] | [.Status, .StatusDetails, .ResponseCode, .StandardOutputContent]|@json' '["TimedOut","ExecutionTimedOut",137,"begun\n"]'
}

@test "what SendCommand's model does not admit is refused by AWS's name for it" {
  on_instance true '{"TimeoutSeconds":29}'
  assert_answer .error ValidationException
  on_instance true "{\"Comment\":\"$(printf '%0101d' 0)\"}"
  assert_answer .error ValidationException
  on_instance true '{"InstanceIds":["i-0123456789abcdef0"]}'
  assert_answer .error InvalidInstanceId
  on_instance true '{"Parameters":{"executionTimeout":["172801"]}}'
  assert_answer .error InvalidParameters
  on_instance true '{"DocumentName":"AWS-RunNothing"}'
  assert_answer .error InvalidDocument
}

@test "who may not send commands is refused, and so is a key that nobody has" {
  AWS_ACCESS_KEY_ID=$SANDBOX_READER_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY=$SANDBOX_READER_SECRET_ACCESS_KEY on_instance true
  assert_answer .error AccessDeniedException
  AWS_ACCESS_KEY_ID=AKIANOBODY on_instance true
  assert_answer .error UnrecognizedClientException
}

@test "a tag finds the fleet, one host after the other, and too many errors end it" {
  aws_call ssm run '{"Targets":[{"Key":"tag:Name","Values":["hermes"]}],"DocumentName":"AWS-RunShellScript","Parameters":{"commands":["exit 3"]},"MaxConcurrency":"1"}'
  assert_answer '[.invocations[].StatusDetails]|@json' '["Failed","Terminated","Terminated"]'
  assert_answer '.command | [.Status, .TargetCount, .ErrorCount]|@json' '["Failed",3,1]'
}

@test "a tag that nothing has is no error to SSM" {
  aws_call ssm SendCommand '{"Targets":[{"Key":"tag:Name","Values":["nobody"]}],"DocumentName":"AWS-RunShellScript","Parameters":{"commands":["true"]}}'
  aws_call ssm ListCommands "$(jq -c '{CommandId: .Command.CommandId}' <<<"$ANSWER")"
  assert_answer '.Commands[0] | [.Status, .StatusDetails, .TargetCount]|@json' '["Success","NoInstancesInTag",0]'
}

@test "an instance out of reach times out in delivery, and one that never registered is unknown" {
  fault ssm "{\"lost\":[\"$SANDBOX_INSTANCE_ID\"],\"deliverySecondMs\":10}"
  aws_call ssm DescribeInstanceInformation '{"Filters":[{"Key":"PingStatus","Values":["ConnectionLost"]}]}'
  assert_answer '[.InstanceInformationList[].InstanceId]|@json' "[\"$SANDBOX_INSTANCE_ID\"]"
  on_instance true '{"TimeoutSeconds":30}'
  assert_answer '.invocations[0] | [.Status, .StatusDetails, .ResponseCode]|@json' '["TimedOut","DeliveryTimedOut",-1]'
  fault ssm "{\"unregistered\":[\"$SANDBOX_INSTANCE_ID\"]}"
  on_instance true
  assert_answer .error InvalidInstanceId
}

@test "a command on an instance that stops halfway stays in progress until it expires" {
  fault ssm '{"deliverySecondMs":20}'
  local image id=i-0000000000000dead
  image=$(engine inspect --format '{{.Config.Image}}' "$SANDBOX_INSTANCE_CONTAINER")
  # Any container with these labels is an instance.
  engine run --detach --rm --network none --label "opsbook.sandbox=${SANDBOX_INSTANCE_CONTAINER%-drawing}" \
    --label opsbook.instance=$id --entrypoint tini "$image" -- sleep infinity >/dev/null
  SANDBOX_INSTANCE_ID=$id on_instance "kill -KILL -1" '{"TimeoutSeconds":30,"Parameters":{"executionTimeout":["60"]}}'
  assert_answer '.invocations[0] | [.Status, .StatusDetails, .ResponseCode, .seen[-2]]|@json' '["TimedOut","DeliveryTimedOut",-1,"InProgress"]'
}

@test "throttling refuses so many calls" {
  fault ssm '{"throttle":1,"throttleOnly":["SendCommand"]}'
  on_instance true
  assert_answer .error ThrottlingException
  on_instance true
  assert_answer '.invocations[0].Status' Success
}

@test "an image is pushed with ECR's token from this machine, and pulled by a host with its role's" {
  as_admin
  local image=$SANDBOX_REGISTRY/front-test:v1 token
  export DOCKER_CONFIG=$BATS_TEST_TMPDIR
  aws_call ecr CreateRepository '{"repositoryName":"front-test"}'
  aws_call ecr GetAuthorizationToken
  token=$(jq -r '.authorizationData[0].authorizationToken' <<<"$ANSWER" | base64 -d)
  printf 'FROM scratch\nLABEL for=test\n' | engine build --quiet --tag "$image" - >/dev/null
  run engine push "$image"
  assert_failure
  engine login --username AWS --password-stdin "$SANDBOX_REGISTRY" <<<"${token#AWS:}" 2>/dev/null
  engine push --quiet "$image"
  aws_call ecr DescribeImages '{"repositoryName":"front-test","imageIds":[{"imageTag":"v1"}]}'
  local digest
  digest=$(jq -r '.imageDetails[0].imageDigest' <<<"$ANSWER")
  engine exec "$SANDBOX_INSTANCE_CONTAINER" sh -c "aws ecr get-login-password | docker login -u AWS --password-stdin $SANDBOX_REGISTRY" >/dev/null 2>&1
  run engine exec "$SANDBOX_INSTANCE_CONTAINER" docker pull --quiet "${image%:v1}@$digest"
  assert_success
  fault ecr '{"expireAfter":0}'
  run engine exec "$SANDBOX_INSTANCE_CONTAINER" docker pull --quiet "$image"
  assert_failure
  assert_output --partial 'Your authorization token has expired. Reauthenticate and try again.'
  engine rmi "$image" >/dev/null
  aws_call ecr DescribeImages '{"repositoryName":"front-test","imageIds":[{"imageTag":"v2"}]}'
  assert_answer .error ImageNotFoundException
  aws_call ecr DeleteRepository '{"repositoryName":"front-test","force":true}'
}

@test "the droplet is booted by systemd, known by its key, and has nothing of Docker" {
  on_droplet() {
    ssh -p "${SANDBOX_DROPLET_SSH##*:}" -i "$SANDBOX_SSH_KEY" -o BatchMode=yes -o StrictHostKeyChecking=yes \
      -o "UserKnownHostsFile=$SANDBOX_KNOWN_HOSTS" deploy@127.0.0.1 "$@"
  }
  run on_droplet 'ps -o comm= 1; sudo -n systemctl is-system-running'
  assert_output "systemd
running"
  run on_droplet 'command -v docker dockerd containerd cron ufw curl node'
  assert_failure
  assert_output ''
}
