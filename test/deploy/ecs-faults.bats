#!/usr/bin/env bats
# Deployments to ECS that go wrong: none of them is called a success, and each says what it was.
bats_require_minimum_version 1.5.0

load ecs

setup_file() {
  ecs_up
  image 2.0.0
  image 3.0.0 crash
}
teardown_file() { ecs_down; }
setup() { ecs_settings; }
teardown() { end_started; }

update() { run "-$1" --separate-stderr opsbook deploy/update-deployment "${@:2}"; }
said() { [[ $stderr == *"$1"* ]] || fail "not said: $1
$stderr"; }

# Another deployment of the service, by somebody with a console.
by_hand() { aws_cli ecs update-service --cluster shops --service "$SERVICE" "$@" >/dev/null; }
in_progress() { [ "$(of_service 'deployments[0].rolloutState')" = IN_PROGRESS ]; }

@test "row 27: ✗ a crash loop that stays in progress for ever (G5): a crash loop that ECS rolls back by itself is a failure, with exit code and last words" {
  update 1 3.0.0
  [[ $stderr =~ "ECS gave up the deployment ecs-svc/"|"ECS rolled the deployment ecs-svc/" ]] || fail "$stderr"
  said "web: exit code 7"
  said "fatal: no such table: meals"
  # A7: what it wrote on its way there.
  said "cannot reach postgres://app:[redacted]@db/meals\\u001b[0m"
  said "3.0.0 failed and 1.0.0 runs again"
  assert_runs 1.0.0
  run -0 --separate-stderr opsbook deploy/list-deployments
  assert_output --regexp '3\.0\.0 .* update +failed: .*; back to 1\.0\.0'
}

@test "row 28: ✗ the state of a deployment, not of the one just created (G5): an old COMPLETED is no success" {
  faults ecs '{"stale":4}'
  update 0 2.0.0
  assert_runs 2.0.0
}

@test "row 29: ✗ a script that ends well when its time is over (G5): a switch that takes longer than it may is a failure, and the old version runs again" {
  image 5.0.0 sick
  update 1 5.0.0 --wait-timeout 3
  [[ $stderr =~ "is not complete after "[0-9.]+" s: " ]] || fail "$stderr"
  said "5.0.0 failed and 1.0.0 runs again"
  assert_runs 1.0.0
}

@test "row 29: throttled describes are asked again, and the watch goes on" {
  faults ecs '{"throttle":12,"throttleOnly":["DescribeServices"]}'
  update 0 2.0.0
  assert_runs 2.0.0
}

@test "a version that answers as the old one is taken back" {
  image 6.0.0 good 1.0.0
  update 1 6.0.0
  said "answers 1.0.0, not 6.0.0"
  said "6.0.0 failed and 1.0.0 runs again"
  assert_runs 1.0.0
}

@test "a version that is healthy for some seconds and then dies is taken back" {
  image 7.0.0 dies
  ENV+=(HEALTHY_FOR=30)
  update 1 7.0.0
  said "fatal: out of sockets"
  said "7.0.0 failed and 1.0.0 runs again"
  assert_runs 1.0.0
}

@test "a deployment that somebody supersedes is a failure that names theirs, and takes nothing of it back" {
  image 5.0.0 sick
  start_opsbook deploy/update-deployment 5.0.0
  wait_for in_progress
  by_hand --task-definition "$SERVICE:1" --force-new-deployment
  assert_ends 1
  run -0 cat "$ERR"
  assert_output --partial "was superseded by ecs-svc/"
  refute_output --partial "go back to"
  service reset "$SERVICE"
  assert_runs 1.0.0
}

@test "out of capacity: what ECS says is told, and the old version is never stopped" {
  faults ecs '{"noCapacity":true}'
  update 1 2.0.0
  said "was unable to place a task. Reason: Capacity is unavailable"
  ecs_faults
  service reset "$SERVICE"
  assert_runs 1.0.0
}

@test "a secret that is missing is found before anything is changed" {
  local arn="arn:aws:secretsmanager:$AWS_REGION:123456789012:secret:$SERVICE/nothing-AbCdEf:KEY::"
  register "s|\"valueFrom\": \"[^\"]*\"|\"valueFrom\": \"$arn\"|"
  # Without a circuit breaker, which would have gone back before we look.
  by_hand --task-definition "$SERVICE" --deployment-configuration \
    'deploymentCircuitBreaker={enable=false,rollback=false},minimumHealthyPercent=100,maximumPercent=200'
  update 1 2.0.0
  said "GREETING of $SERVICE:"
  said "there is no such secret"
}

@test "V1: a secret that is no JSON, or a JSON text, is told on stderr and to NOTIFY_URL without what it holds" {
  local heard=$BATS_TEST_TMPDIR/heard text valueFrom=''
  for text in 'plain-hush' '"string-hush"' '{"A":"a"}'; do
    valueFrom+="\"}, {\"name\": \"S${#valueFrom}\", \"valueFrom\": \"$(aws_cli secretsmanager create-secret \
      --name "$SERVICE/$RANDOM$RANDOM" --secret-string "$text" --query ARN --output text):constructor::"
  done
  register "s|\"valueFrom\": \"[^\"]*\"|&${valueFrom#\"}\"|; s|\"\"}, |\"}, |"
  by_hand --task-definition "$SERVICE" --deployment-configuration \
    'deploymentCircuitBreaker={enable=false,rollback=false},minimumHealthyPercent=100,maximumPercent=200'
  "$NODE" "$REPO/test/script/fixture/listener.ts" >"$heard" 2>&1 3>&- &
  STARTED+=("$!")
  wait_for test -s "$heard"
  ENV+=(NOTIFY_URL="http://127.0.0.1:$(head -1 "$heard")/hook")
  update 1 2.0.0 --verbose
  [ "$(grep -o 'has no key constructor' <<<"$stderr" | wc -l)" = 3 ] || fail "$stderr"
  run -0 cat "$heard"
  assert_output --partial 'has no key constructor'
  refute_regex "$stderr$output" '(plain|string)-hush'
}

@test "a service that never was, one that is deleted, and a cluster that never was are told apart" {
  update 2 2.0.0 --target ecs://shops/nothing
  said "there is no service nothing in the cluster shops"
  update 2 2.0.0 --target ecs://nowhere/shop
  said "there is no cluster nowhere"
  aws_cli ecs create-service --cluster shops --service-name "$SERVICE-old" --task-definition "$SERVICE:1" --desired-count 0 >/dev/null
  aws_cli ecs delete-service --cluster shops --service "$SERVICE-old" >/dev/null
  wait_for inactive "$SERVICE-old"
  update 1 2.0.0 --target "ecs://shops/$SERVICE-old"
  said "was deleted (INACTIVE)"
}
inactive() { [ "$(aws_cli ecs describe-services --cluster shops --services "$1" --query 'services[0].status' --output text)" = INACTIVE ]; }

@test "✗ an image for another platform (G5), or one that is not in ECR, is refused before anything is changed" {
  update 1 9.9.9
  said "$IMAGE:9.9.9 is not in ECR"
  register 's|"family":|"runtimePlatform": {"cpuArchitecture": "ARM64", "operatingSystemFamily": "LINUX"}, "family":|'
  by_hand --task-definition "$SERVICE"
  update 1 2.0.0 --diff
  said "and its task definition runs linux/arm64"
}

# The first revision with a change, as a new one.
register() {
  aws_cli ecs describe-task-definition --task-definition "$SERVICE:1" --query \
    'taskDefinition.{family:family,networkMode:networkMode,requiresCompatibilities:requiresCompatibilities,cpu:cpu,memory:memory,containerDefinitions:containerDefinitions}' |
    sed "$1" >"$BATS_TEST_TMPDIR/definition.json"
  aws_cli ecs register-task-definition --cli-input-json "$(<"$BATS_TEST_TMPDIR/definition.json")" >/dev/null
}

@test "a configuration under which nothing would run for a while is refused, with the command that mends it" {
  by_hand --deployment-configuration minimumHealthyPercent=0,maximumPercent=100
  update 1 2.0.0
  said "all tasks may be stopped before new ones run"
  said "minimumHealthyPercent=100,maximumPercent=200"
  by_hand --deployment-configuration minimumHealthyPercent=100,maximumPercent=200
}

@test "a second deployment at the same time is refused with who began the first, exit 75" {
  image 5.0.0 sick
  start_opsbook deploy/update-deployment 5.0.0
  wait_for in_progress
  update 75 2.0.0
  said "a deployment of 5.0.0 by $(id -un)@"
  assert_ends 1
  assert_runs 1.0.0
}

@test "interrupted: it goes on in ECS, how to follow or end it is said, and the same command follows it to its end" {
  start_opsbook deploy/update-deployment 2.0.0
  wait_for in_progress
  kill -INT "$PID"
  assert_ends 130
  run -0 cat "$ERR"
  assert_output --partial "goes on in ECS without us. To follow it again: update-deployment 2.0.0"
  assert_output --partial "aws ecs stop-service-deployment --stop-type ROLLBACK"
  local revision
  revision=$(of_service taskDefinition)
  update 0 2.0.0
  assert_equal "$(of_service taskDefinition)" "$revision"
  assert_runs 2.0.0
}

@test "killed: the next run of the same command follows what was begun" {
  start_opsbook deploy/update-deployment 2.0.0
  wait_for in_progress
  kill -9 "$PID"
  local revision
  revision=$(of_service taskDefinition)
  update 0 2.0.0
  assert_equal "$(of_service taskDefinition)" "$revision"
  assert_runs 2.0.0
}

@test "a rollback to an image that is gone from ECR is refused before anything is changed" {
  update 0 2.0.0
  local digest
  image 1.5.0
  update 0 1.5.0
  digest=$(aws_cli ecr describe-images --repository-name shop --image-ids imageTag=1.5.0 --query 'imageDetails[0].imageDigest' --output text)
  update 0 2.0.0
  aws_cli ecr batch-delete-image --repository-name shop --image-ids "imageDigest=$digest" >/dev/null
  run -1 --separate-stderr opsbook deploy/rollback --to 1.5.0 --yes
  said "is not in ECR"
  assert_runs 2.0.0
}
