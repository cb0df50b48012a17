#!/usr/bin/env bats
# Those who watch from afar: the heartbeat, the webhook, and GitHub Actions.
bats_require_minimum_version 1.5.0

load typed

REHEARSE=$BATS_TEST_DIRNAME/fixture/rehearse.ts

setup() {
  FILE=$BATS_TEST_TMPDIR/rehearsed
  ENV+=(APP=bloaty APP_DIR="$BATS_TEST_TMPDIR" REHEARSE_FILE="$FILE")
}

teardown() {
  [ ! -f "$FILE.child" ] || kill -9 "$(<"$FILE.child")" 2>/dev/null || true
  end_started
}

# Starts a server that the script's watchers are sent to; it answers with the status that it is given.
listen() {
  HEARD=$BATS_TEST_TMPDIR/heard
  "$NODE" "$BATS_TEST_DIRNAME/fixture/listener.ts" "${1:-200}" >"$HEARD" 2>&1 3>&- &
  STARTED+=("$!")
  wait_for test -s "$HEARD"
  local url
  url=http://127.0.0.1:$(head -1 "$HEARD")
  ENV+=(HEARTBEAT_URL="$url/ping/{script}" NOTIFY_URL="$url/hook")
}

heard() { sed 1d "$HEARD"; }

@test "a run that succeeds is heard of at its start and its end" {
  listen
  run -0 opsbook "$REHEARSE"
  assert_equal "$(heard)" $'POST /ping/rehearse/start \nPOST /ping/rehearse '
}

@test "a run that fails is heard of, and tells why" {
  listen
  run -1 opsbook "$REHEARSE" --act break
  local why="unexpected: a bug that knows undefined. Next: run it with --verbose and report what it shows"
  assert_equal "$(heard)" "POST /ping/rehearse/start 
POST /ping/rehearse/fail $why
POST /hook {\"text\":\"bloaty: rehearse failed: $why\"}"
}

@test "V1: an error that nobody waited for is told without the secret in it, fails the run, and lets it tidy up" {
  listen
  ENV+=(REHEARSE_TOKEN=Token-Hush-1)
  run -1 --separate-stderr opsbook "$REHEARSE" --act stray --verbose
  assert_regex "$stderr" 'error: unexpected: a bug that knows \[redacted\]'
  assert_regex "$(heard)" 'POST /hook .*a bug that knows \[redacted\]'
  refute_regex "$stderr$output$(heard)" Hush
  assert_equal "$(<"$FILE.released")" $'second\nfirst'
}

@test "wrong settings are heard of, though the run never began" {
  listen
  ENV+=(APP_DIR=)
  run -2 opsbook "$REHEARSE" </dev/null
  assert_regex "$(heard)" '^POST /ping/rehearse/fail APP_DIR is not set .*POST /hook .*APP_DIR is not set'
}

@test "of several wrong settings all are heard of" {
  listen
  ENV+=(APP_DIR= REHEARSE_FILE=)
  run -2 opsbook "$REHEARSE" </dev/null
  assert_regex "$(heard)" 'POST /hook .*APP_DIR is not set.*REHEARSE_FILE is not set'
}

@test "a run that is ended with SIGTERM is heard of" {
  listen
  start_opsbook "$REHEARSE" --act wait
  wait_for test -f "$FILE.child"
  kill "$PID"
  assert_ends 143
  assert_regex "$(heard)" 'POST /ping/rehearse/fail interrupted by SIGTERM.*POST /hook .*interrupted by SIGTERM'
}

@test "a run that finds the lock held is heard of" {
  listen
  start_opsbook "$REHEARSE" --act wait
  wait_for test -f "$FILE.child"
  run -75 opsbook "$REHEARSE"
  assert_regex "$(heard)" 'POST /ping/rehearse/fail rehearse has been running for'
}

@test "a dry run is not heard of" {
  listen
  run -0 opsbook "$REHEARSE" --dry-run
  assert_equal "$(heard)" ""
}

@test "a watcher that refuses, or is not there, costs a warning and no run" {
  listen 500
  ENV+=(NOTIFY_URL=http://127.0.0.1:9/hook)
  run -0 --separate-stderr opsbook "$REHEARSE"
  assert_regex "$stderr" "warning: HEARTBEAT_URL was not told: 127.0.0.1:[0-9]+ answered 500"
  run -1 --separate-stderr opsbook "$REHEARSE" --act break
  assert_regex "$stderr" "warning: NOTIFY_URL was not told: 127.0.0.1:9: "
  refute_regex "$stderr" "/hook|/ping"
}

@test "the address of a watcher is a secret, and a wrong one is told of without it" {
  ENV+=(NOTIFY_URL=hooks.example.com/T0-key REHEARSE_FILE=)
  run -2 --separate-stderr opsbook "$REHEARSE"
  assert_regex "$stderr" "error: NOTIFY_URL: is not an http\(s\) URL"
  assert_regex "$stderr" "error: REHEARSE_FILE is not set"
  refute_regex "$stderr" "T0-key"
}

@test "GitHub Actions gets groups, masks, outputs and a summary" {
  local to=$BATS_TEST_TMPDIR
  ENV+=(GITHUB_ACTIONS=true GITHUB_OUTPUT="$to/output" GITHUB_STEP_SUMMARY="$to/summary" REHEARSE_TOKEN=hunter22)
  run -0 --separate-stderr opsbook "$REHEARSE"
  assert_equal "$output" "$FILE"
  assert_equal "${stderr_lines[*]:0:2}" "::add-mask::aHVudGVyMjI ::add-mask::hunter22"
  assert_regex "$stderr" $'::group::write the file\n1 word \\([0-9.]+ s\\)\n::endgroup::'
  assert_equal "$(<"$to/output")" "file=$FILE"
  assert_equal "$(<"$to/summary")" $'### rehearse\n\n```\nfile  words\nhere      1\n```'
}

@test "GitHub Actions gets an annotation for a failure" {
  ENV+=(GITHUB_ACTIONS=true)
  run -1 --separate-stderr opsbook "$REHEARSE" --act break
  assert_regex "${stderr_lines[-1]}" "^::error::rehearse: unexpected: a bug"
}
