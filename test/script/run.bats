#!/usr/bin/env bats
# What lib/script.ts does around a run: signals, the lock, dry runs, answers, questions, secrets.
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

# Starts a run that waits in a child process until it is stopped.
start_waiting() {
  start_opsbook "$REHEARSE" --act wait "$@"
  wait_for test -f "$FILE.child"
}

lock_is_free() { flock --nonblock "$BATS_TEST_TMPDIR/.opsbook/rehearse.lock" true; }

stopped_by() {
  start_waiting
  kill -s "$1" "$PID"
  assert_ends "$2"
  gone "$(<"$FILE.child")"
  lock_is_free
  assert_equal "$(<"$FILE.released")" $'second\nfirst'
  assert_equal "$(tail -1 "$ERR" | cut -d' ' -f2-)" "rehearse: error: interrupted by SIG$1"
  [ ! -e "$FILE" ]
}

for signal in INT=130 TERM=143 HUP=129; do
  bats_test_function --description "SIG${signal%=*} ends the child, frees the lock, releases and exits ${signal#*=}" -- stopped_by "${signal%=*}" "${signal#*=}"
done

@test "a second signal while it cleans up changes nothing" {
  start_waiting
  kill -TERM "$PID"
  wait_for gone "$(<"$FILE.child")"
  kill -INT "$PID" 2>/dev/null || true
  assert_ends 143
  assert_equal "$(<"$FILE.released")" $'second\nfirst'
}

@test "after kill -9 the next run takes the lock over, says whose it was, and works" {
  start_waiting
  kill -9 "$PID"
  assert_ends 137 2>/dev/null
  wait_for lock_is_free
  run -0 --separate-stderr opsbook "$REHEARSE"
  assert_equal "$output" "$FILE"
  assert_regex "$stderr" "warning: rehearse \(process $PID, started .* ago\) died without finishing; its lock was taken over"
  run -0 --separate-stderr opsbook "$REHEARSE"
  refute_regex "$stderr" "warning"
}

@test "a second run exits 75 and says who is at it, and the first goes on" {
  start_waiting
  run -75 --separate-stderr opsbook "$REHEARSE"
  assert_equal "$output" ""
  assert_regex "$stderr" "rehearse has been running for .* \(process $PID of $(id -un) on $(hostname), lock .*\)\. Next: wait for it, or end it .*: kill $PID"
  run ! gone "$PID"
}

@test "a dry run neither waits for the lock nor takes it" {
  start_waiting
  run -0 opsbook "$REHEARSE" --dry-run
  run ! lock_is_free
}

@test "--dry-run prints exactly the command that --verbose shows being run, and changes nothing" {
  ENV+=(REHEARSE_TOKEN=hunter22)
  run -0 --separate-stderr opsbook "$REHEARSE" --dry-run
  [ ! -e "$FILE" ] && [ ! -e "$BATS_TEST_TMPDIR/.opsbook" ]
  local would
  would=$(sed -n 's/^[^ ]* rehearse:   //p' <<<"$stderr")
  run -0 --separate-stderr opsbook "$REHEARSE" --verbose
  assert_equal "$(<"$FILE")" "it's here"
  assert_equal "$(sed -n 's/^[^ ]* rehearse: \$ //p' <<<"$stderr" | head -1)" "$would"
  assert_regex "$would" "^WORD='it'\\\\''s here' TOKEN='\[redacted\]' sh -c "
}

@test "--json gives one document on stdout, and nothing else, however large and however late it is read" {
  opsbook "$REHEARSE" --json --act answer 2>/dev/null | (
    wait_for test -s "$FILE.released"
    "$NODE" -e 'const { file, many } = JSON.parse(fs.readFileSync(0)); console.log(file, many.length)'
  ) >"$BATS_TEST_TMPDIR/read"
  assert_equal "$(<"$BATS_TEST_TMPDIR/read")" "$FILE 1000000"
}

@test "a reader that goes away does not keep a run from its end" {
  opsbook "$REHEARSE" --act answer --json 2>&1 | true
  assert_equal "$(<"$FILE.released")" $'second\nfirst'
}

@test "what would ask refuses without a terminal, and goes on with --yes" {
  run -2 --separate-stderr opsbook "$REHEARSE" --ask </dev/null
  assert_regex "$stderr" "Go on\? Cannot ask for confirmation: no terminal\. Next: pass --yes"
  [ ! -e "$FILE" ]
  run -0 opsbook "$REHEARSE" --ask --yes </dev/null
  assert_equal "$(<"$FILE")" "it's here"
}

@test "operands behind --env-file are operands" {
  touch "$BATS_TEST_TMPDIR/empty.env"
  run -0 opsbook "$REHEARSE" --env-file empty.env "a word"
  assert_equal "$(<"$FILE")" "a word"
}

@test "a failing command is told in one line, with what to do; a bug too" {
  run -1 --separate-stderr opsbook "$REHEARSE" --act fail
  assert_equal "${#stderr_lines[@]}" 1
  assert_regex "$stderr" "error: sh exited with 7: denied for *\. Next: try it by hand: WORD='it"
  run -1 --separate-stderr opsbook "$REHEARSE" --act break
  assert_equal "${#stderr_lines[@]}" 1
  assert_regex "$stderr" "error: unexpected: a bug that knows .*\. Next: run it with --verbose"
}

@test "settings that dotenv and Compose read differently are refused by name, all problems at once, and no value is shown" {
  unset "ENV[-1]" # REHEARSE_FILE
  printf '%s\n' 'REHEARSE_TOKEN=swordfish#9' 'REHEARSE_FILE="/tmp/\$swordfish"' 'AWS_SECRET_ACCESS_KEY="sword\"fish"' \
    'OTHER=a#b' 'TARGET=ssh://swordfish#9' 'APP_DIR=${swordfish}' 'HEARTBEAT_URL=swordfish' >"$BATS_TEST_TMPDIR/odd.env"
  run -2 --separate-stderr opsbook "$REHEARSE" --env-file odd.env --target local
  local name problem="error: --env-file odd.env: (REHEARSE_TOKEN|REHEARSE_FILE|AWS_SECRET_ACCESS_KEY) has one value for dotenv and another for Docker Compose\. Next: put it in single quotes"
  assert_equal "$(grep -cE "$problem" <<<"$stderr")" 3
  assert_regex "$stderr" 'error: HEARTBEAT_URL: is not'
  assert_equal "${#stderr_lines[@]}" 4
  refute_regex "$stderr" swordfish
  # What is set wins, and is as it is.
  ENV+=(REHEARSE_FILE="$FILE" REHEARSE_TOKEN='swordfish#9' AWS_SECRET_ACCESS_KEY=x HEARTBEAT_URL=)
  run -0 --separate-stderr opsbook "$REHEARSE" --env-file odd.env --target local
}

@test "a secret is in no output, whatever happens" {
  local token="p@ss 'w\"ord-$RANDOM" flags
  ENV+=(REHEARSE_TOKEN="$token")
  for flags in --json --verbose "--verbose --act fail" "--verbose --act break"; do
    run opsbook "$REHEARSE" $flags
    refute_output --partial "ord-${token##*-}"
  done
}

@test "a secret is on no command line while the script and its child run" {
  local token="secret-$RANDOM$RANDOM"
  echo "REHEARSE_TOKEN=$token" >"$BATS_TEST_TMPDIR/.env"
  start_waiting
  tr '\0' '\n' <"/proc/$(<"$FILE.child")/environ" | grep -q "^TOKEN=$token"
  cat /proc/[0-9]*/cmdline >"$BATS_TEST_TMPDIR/cmdlines" 2>/dev/null || true
  run -1 grep -aqF "$token" "$BATS_TEST_TMPDIR/cmdlines"
}

@test "a real script keeps its secrets too" {
  local store=$BATS_TEST_TMPDIR/store
  mkdir "$store"
  ENV+=(BACKUP_STORE="file://$store" BACKUP_DATABASES="postgres://app:hunter%2F22@127.0.0.1:9/app" AWS_SECRET_ACCESS_KEY=swordfish9)
  run ! opsbook backup/backup --verbose
  refute_output --regexp 'hunter|swordfish9'
  assert_output --partial "postgres"
}
