#!/usr/bin/env bats
# Deployments to ECS that work: a pinned revision, no dropped request, a record that a rollback goes by.
bats_require_minimum_version 1.5.0

load ecs

setup_file() {
  ecs_up
  image 2.0.0
}
teardown_file() { ecs_down; }
setup() { ecs_settings; }
teardown() { end_started; }

revision() { of_service 'taskDefinition' | sed 's|.*/||'; }
image_of() { aws_cli ecs describe-task-definition --task-definition "$1" --query 'taskDefinition.containerDefinitions[0].image' --output text; }

@test "an update and a rollback under a steady load drop no request" {
  start_load 50
  run -0 --separate-stderr opsbook deploy/update-deployment 2.0.0
  assert_output "2.0.0 runs, and was seen to answer"
  assert_runs 2.0.0
  run -0 --separate-stderr opsbook deploy/rollback --yes
  assert_output "1.0.0 runs again, and was seen to answer"
  assert_runs 1.0.0
  assert_none_dropped 1.0.0 2.0.0
  run -0 --separate-stderr opsbook deploy/list-deployments
  assert_line --regexp '^\* +1\.0\.0 .* rollback +verified'
  assert_line --regexp '^ +2\.0\.0 .* update +verified'
}

@test "✗ always :latest (G5): the digest is pinned in a new revision, which says what it is; latest is refused" {
  local digest
  digest=$(aws_cli ecr describe-images --repository-name shop --image-ids imageTag=2.0.0 --query 'imageDetails[0].imageDigest' --output text)
  run -2 --separate-stderr opsbook deploy/update-deployment latest
  run -0 opsbook deploy/update-deployment 2.0.0
  assert_equal "$(image_of "$(revision)")" "$IMAGE@$digest"
  run -0 aws_cli ecs describe-task-definition --task-definition "$(revision)" --include TAGS --query 'tags[?key==`opsbook:version`].value' --output text
  assert_output 2.0.0
}

@test "✗ a revision 'if needed' (G5): update-service makes none, so one is registered, the old one but for its image" {
  local before after
  before=$(aws_cli ecs describe-task-definition --task-definition "$SERVICE:1" --query taskDefinition | "$NODE" "$REPO/test/deploy/ecs/without.mjs")
  run -0 opsbook deploy/update-deployment 2.0.0
  assert_not_equal "$(revision)" "$SERVICE:1"
  after=$(aws_cli ecs describe-task-definition --task-definition "$(revision)" --query taskDefinition | "$NODE" "$REPO/test/deploy/ecs/without.mjs")
  assert_equal "$after" "$before"
}

@test "✗ no circuit breaker (G5): it is turned on with the update, and what else was configured stays" {
  run -0 opsbook deploy/update-deployment 2.0.0
  assert_equal "$(of_service 'deploymentConfiguration.[deploymentCircuitBreaker.enable,deploymentCircuitBreaker.rollback,minimumHealthyPercent,maximumPercent]')" "True	True	100	200"
}

@test "a dry run shows the calls, and makes none" {
  local before
  before=$(aws_cli ecs list-task-definitions --family-prefix "$SERVICE")
  run -0 --separate-stderr opsbook deploy/update-deployment 2.0.0 --dry-run
  [[ $stderr == *"RegisterTaskDefinition $SERVICE: web=$IMAGE@sha256:"* ]] || fail "$stderr"
  [[ $stderr == *"UpdateService shops/$SERVICE"* ]] || fail "$stderr"
  assert_equal "$(aws_cli ecs list-task-definitions --family-prefix "$SERVICE")" "$before"
  assert_runs 1.0.0
}

@test "the migration runs once, on the new revision, before the switch; its lines are shown" {
  ENV+=(MIGRATE_COMMAND="node server.mjs migrate")
  run -0 --separate-stderr opsbook deploy/update-deployment 2.0.0
  [[ $stderr == *"migrating to 2.0.0"*"switch to 2.0.0"* ]] || fail "$stderr"
  run -0 --separate-stderr opsbook deploy/list-deployments --json
  assert_output --partial '"migrated":true'
}

@test "a migration that fails switches nothing, and its exit code and last words are told" {
  ENV+=(MIGRATE_COMMAND="node server.mjs migrate fail")
  run -1 --separate-stderr opsbook deploy/update-deployment 2.0.0
  [[ $stderr == *'relation "meals" does not exist'* ]] || fail "$stderr"
  [[ $stderr == *"the migration exited with 9"* ]] || fail "$stderr"
  assert_runs 1.0.0
  assert_equal "$(revision)" "$SERVICE:1"
}

@test "a migration that hangs is stopped in its time" {
  ENV+=(MIGRATE_COMMAND="node server.mjs migrate hang" MIGRATE_TIMEOUT=3)
  run -1 --separate-stderr opsbook deploy/update-deployment 2.0.0
  [[ $stderr == *"the migration did not end in 3"* ]] || fail "$stderr"
  assert_runs 1.0.0
}
