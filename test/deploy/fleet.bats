#!/usr/bin/env bats
# A fleet behind a load balancer: three instances by SSM, one after the other, while requests come in.
bats_require_minimum_version 1.5.0
load fleet

setup_file() { fleet_up; }
teardown_file() { fleet_down; }
teardown() { end_started; }

# One version runs on all hosts, whatever the test before left: BEFORE. NEW is one that never ran.
setup() {
  NEW=2.$BATS_TEST_NUMBER.0
  BEFORE=$(versions | cut -d' ' -f1)
  [ "$(versions) $(target_states)" = "$BEFORE $BEFORE $BEFORE healthy healthy healthy" ] || {
    BEFORE=1.0.0
    opsbook update-deployment "$BEFORE" >/dev/null 2>&1
    assert_fleet "$BEFORE"
  }
}

@test "a rolling update: host by host, drained before and healthy after, and no request fails" {
  image "$NEW"
  start_load 50
  run -0 --separate-stderr opsbook update-deployment "$NEW"
  assert_output "$NEW runs, and was seen to answer"
  assert_equal "$(grep -c 'is taken out of the load balancer' <<<"$stderr")" 3
  assert_none_dropped "$BEFORE" "$NEW"
  assert_fleet "$NEW"
}

@test "the same version again changes nothing: no host is taken out" {
  run -0 --separate-stderr opsbook update-deployment "$BEFORE"
  refute_regex "$stderr" 'is taken out'
}

@test "rollback goes to the last verified version, host by host, and no request fails" {
  image "$NEW"
  run -0 opsbook update-deployment "$NEW"
  start_load 50
  run -0 --separate-stderr opsbook rollback --yes
  assert_output "$BEFORE runs again, and was seen to answer"
  assert_none_dropped "$NEW" "$BEFORE"
  assert_fleet "$BEFORE"
}

@test "a version that never becomes healthy: the rollout stops at the first host, which goes back and is put back" {
  image "$NEW" sick
  start_load 50
  HEALTH_TIMEOUT=6 run -1 --separate-stderr opsbook update-deployment "$NEW"
  assert_regex "$stderr" 'node1 failed: '
  refute_regex "$stderr" 'node2 is taken out'
  assert_regex "$stderr" "$NEW failed and $BEFORE runs again"
  assert_none_dropped "$BEFORE"
  assert_fleet "$BEFORE"
}

@test "a host that cannot be deployed to is named before anything is changed on any" {
  image "$NEW"
  local second
  second=$(cut -d, -f2 <<<"$SANDBOX_FLEET_CONTAINERS")
  on "$second" sh -c 'mv "$(command -v docker)" /usr/local/bin/docker.gone'
  run -1 --separate-stderr opsbook update-deployment "$NEW"
  on "$second" sh -c 'mv /usr/local/bin/docker.gone /usr/bin/docker'
  assert_regex "$stderr" 'node2.*docker'
  assert_fleet "$BEFORE"
}

@test "the last healthy host is never drained" {
  image "$NEW"
  local ids
  IFS=, read -ra ids <<<"$SANDBOX_FLEET_IDS"
  aws_cli elbv2 deregister-targets --target-group-arn "$TARGET_GROUP_ARN" --targets "Id=${ids[0]}" "Id=${ids[1]}"
  one_left() { [[ $(target_states) != *healthy*healthy* ]]; }
  wait_for one_left
  run -1 --separate-stderr opsbook update-deployment "$NEW"
  assert_regex "$stderr" 'is healthy for the load balancer: taking it out would leave nobody to answer'
  aws_cli elbv2 register-targets --target-group-arn "$TARGET_GROUP_ARN" --targets "Id=${ids[0]}" "Id=${ids[1]}"
  wait_for all_healthy
  assert_fleet "$BEFORE"
}

@test "killed while a host is out: the next run says so, and puts it back" {
  image "$NEW"
  "$NODE" "$REPO/scripts/deploy/update-deployment.ts" "$NEW" >"$BATS_TEST_TMPDIR/out" 2>&1 3>&- &
  PID=$!
  STARTED+=("$PID")
  out() { grep -q 'node2 is taken out' "$BATS_TEST_TMPDIR/out"; }
  wait_for_minutes out
  kill -9 "$PID"
  run -75 opsbook update-deployment "$NEW"
  assert_output --partial "update-deployment of $NEW has been running for"
  break_locks
  run -0 --separate-stderr opsbook update-deployment "$NEW"
  assert_regex "$stderr" 'was cut off|is not in the target group'
  assert_fleet "$NEW"
}

# As if the lease of who died had run out; that takes three minutes by itself.
break_locks() {
  local node nodes
  IFS=, read -ra nodes <<<"$SANDBOX_FLEET_CONTAINERS"
  for node in "${nodes[@]}"; do on "$node" sh -c 'touch -d 1970-01-01 /opt/hermes/.opsbook/deploy.lock.*'; done
  free() { on "${nodes[0]}" flock --nonblock /opt/hermes/.opsbook/deploy.lock true; }
  wait_for free
}

@test "interrupted while a host is out: it is put back, and all run the old version" {
  image "$NEW"
  "$NODE" "$REPO/scripts/deploy/update-deployment.ts" "$NEW" >"$BATS_TEST_TMPDIR/out" 2>&1 3>&- &
  PID=$!
  STARTED+=("$PID")
  out() { grep -q 'node1 is taken out' "$BATS_TEST_TMPDIR/out"; }
  wait_for_minutes out
  kill -TERM "$PID"
  wait_for_minutes gone "$PID"
  assert_ends 143
  assert_fleet "$BEFORE"
}

@test "several hosts without a target group are refused: nothing tells who gets requests" {
  TARGET_GROUP_ARN='' run -2 opsbook update-deployment "$NEW"
  assert_output --partial 'set TARGET_GROUP_ARN'
}

@test "list-deployments tells of the fleet as of one app" {
  run -0 opsbook update-deployment "$BEFORE"
  run -0 opsbook list-deployments
  assert_line --regexp "^\* +$BEFORE "
}
