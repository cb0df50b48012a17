#!/usr/bin/env bats
# A person at a terminal: progress, questions, Ctrl-C, and a window that is closed.
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

shows() { grep -qF "$1" "$SCREEN"; }
released() { [ "$(cat "$FILE.released" 2>/dev/null)" = $'second\nfirst' ]; }

@test "a terminal sees steps with their result, in colour" {
  start_on_terminal "$REHEARSE"
  assert_ends 0
  shows "write the file"
  shows "1 word ("
  grep -q $'\e\[32m✔' "$SCREEN"
}

@test "a terminal without a width gets lines" {
  COLUMNS_SHOWN=0 start_on_terminal "$REHEARSE"
  assert_ends 0
  shows "Z rehearse: write the file: 1 word ("
}

@test "NO_COLOR is heeded" {
  ENV+=(NO_COLOR=1)
  start_on_terminal "$REHEARSE"
  assert_ends 0
  shows "✔ write the file"
  run -1 grep -q $'\e\[[39][0-9]*m' "$SCREEN"
}

@test "a terminal sees how far a step is, and Ctrl-C ends it with 130" {
  start_on_terminal "$REHEARSE" --act wait
  wait_for shows "████████████░░░░░░░░ 61% 61 files"
  wait_for test -f "$FILE.child"
  keys '\x03'
  assert_ends 130
  shows "interrupted by SIGINT"
  gone "$(<"$FILE.child")"
  released
  flock --nonblock "$BATS_TEST_TMPDIR/.opsbook/rehearse.lock" true
}

@test "a terminal that is closed ends the run, which still cleans up" {
  start_on_terminal "$REHEARSE" --act wait
  wait_for test -f "$FILE.child"
  kill -9 "$PID"
  wait_for released
  wait_for gone "$(<"$FILE.child")"
  wait_for flock --nonblock "$BATS_TEST_TMPDIR/.opsbook/rehearse.lock" true
}

asked_and_answered() {
  start_on_terminal "$REHEARSE" --ask
  wait_for shows "This writes the file. Go on? [y/N]"
  keys "$1"
  assert_ends "$2"
  shows "$3"
  assert_equal "$(cat "$FILE" 2>/dev/null)" "$4"
}

bats_test_function --description "the answer y goes on" -- asked_and_answered 'y\n' 0 "write the file" "it's here"
bats_test_function --description "the answer n leaves everything" -- asked_and_answered 'n\n' 1 "not confirmed: nothing was changed" ""
bats_test_function --description "no answer leaves everything" -- asked_and_answered '\n' 1 "not confirmed: nothing was changed" ""
bats_test_function --description "Ctrl-D leaves everything" -- asked_and_answered '\x04' 1 "not confirmed: nothing was changed" ""
bats_test_function --description "Ctrl-C at the question leaves everything" -- asked_and_answered '\x03' 130 "interrupted by SIGINT" ""
