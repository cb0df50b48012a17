# The tests of a rollout under load: the same behind each proxy; a file names its proxy in setup_file.
load world

teardown_file() { app_down; }

teardown() { end_started; }

for_each_proxy() {
  bats_test_function --description "$1" -- "$2"
}

works() {
  image 2.0.0
  start_load
  run -0 --separate-stderr opsbook update-deployment 2.0.0
  assert_none_dropped 1.0.0 2.0.0
  assert_runs 2.0.0
}

dies() {
  local before
  before=$(answered)
  image 3.0.0 3.0.0 "$(node_with 'setTimeout(() => process.exit(3), 4000)')"
  start_load
  HEALTHY_FOR=8 run -1 --separate-stderr opsbook update-deployment 3.0.0
  [[ $stderr == *"after it had been healthy for"* ]] || fail "$stderr"
  assert_none_dropped "$before"
  assert_runs "$before"
}

for_each_proxy "✗ down first: a rollout under load drops no request" works
for_each_proxy "✗ sleep 10; docker ps | grep: a version that is healthy for a moment and then dies is taken back, and drops no request" dies
