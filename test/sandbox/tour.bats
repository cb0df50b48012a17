#!/usr/bin/env bats
# The tour, as the README's first command runs it.
bats_require_minimum_version 1.5.0

load ../../node_modules/bats-support/load
load ../../node_modules/bats-assert/load

@test "the tour loses everything and proves that everything is back" {
  # The runner brought the sandbox up under its own name; the tour finds it there.
  run -0 npm --prefix "$BATS_TEST_DIRNAME/../.." run --silent tour
  assert_output --partial 'refused: 403 AccessDenied'
  assert_output --regexp 'restore +[0-9.]+ s +all [1-9][0-9]* rows and 60 files are as they were; the app answers 200'
  assert_output --regexp 'drill +[0-9.]+ s +a throw-away restore equals the manifest'
}
