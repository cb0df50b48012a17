#!/usr/bin/env bats
# What was deployed, and what runs: also when nobody deployed it, or when somebody changed it by hand.
bats_require_minimum_version 1.5.0

load world

setup_file() {
  app_up nginx
  image 2.0.0
}

teardown_file() { app_down; }
setup() { app_reset; }

@test "before the first deployment it says what runs" {
  run -0 --separate-stderr opsbook list-deployments
  assert_output "no deployment was recorded here; 1.0.0 runs"
}

@test "it lists deployments, newest first, and marks the one that runs" {
  image 3.0.0 3.0.0 'CMD ["-e", "process.exit(7)"]'
  run -0 opsbook update-deployment 2.0.0
  run -1 opsbook update-deployment 3.0.0
  run -0 --separate-stderr opsbook list-deployments
  assert_line --index 1 --regexp '^ +3\.0\.0 .* update +failed: .*; back to 2\.0\.0'
  assert_line --index 2 --regexp '^\* +2\.0\.0 .* update +verified after'
  assert_line --index 3 --regexp '^ +1\.0\.0 .* found +verified'
  run -0 --separate-stderr opsbook list-deployments --json
  assert_equal "$("$NODE" -pe 'const { running, deployments } = JSON.parse(process.argv[1]); [running.version, deployments.length].join()' "$output")" "2.0.0,3"
}

@test "a service that somebody changed by hand is found out" {
  run -0 opsbook update-deployment 2.0.0
  compose up --detach --no-deps worker >/dev/null 2>&1
  run -0 --separate-stderr opsbook list-deployments
  assert_output --partial "* runs now: 2.0.0 and 1.0.0, which no deployment recorded"
}
