#!/usr/bin/env bats
# The environments that scripts are started from: cron's, and npx's.
bats_require_minimum_version 1.5.0

load typed

BIN=$REPO/node_modules/.bin

setup() {
  STORE=$BATS_TEST_TMPDIR/store
  mkdir "$STORE"
  printf '%s\n' APP=bloaty "APP_DIR=$BATS_TEST_TMPDIR" "BACKUP_STORE=file://$STORE" >"$BATS_TEST_TMPDIR/bloaty.env"
  SCRIPT=("$REPO/scripts/backup/list.ts" --env-file "$BATS_TEST_TMPDIR/bloaty.env" --json)
}

# Runs a command as cron does, with this PATH.
as_cron() {
  local path=$1
  shift
  (cd / && env -i PATH="$path" HOME=/ SHELL=/bin/sh LOGNAME="$(id -un)" setsid "$@" </dev/null)
}

@test "with opsbook's own Node on PATH, cron runs a script" {
  run -0 --separate-stderr as_cron "$BIN:/usr/bin:/bin" tsx "${SCRIPT[@]}"
  assert_regex "$output" '"backups":\[\]'
  assert_equal "$stderr" ""
}

@test "without it, the script says in one line what PATH lacks" {
  [[ $(/usr/bin/node --version 2>/dev/null) =~ ^v2[0-3]\. ]] || skip "no older Node at /usr/bin/node"
  run -2 --separate-stderr as_cron /usr/bin:/bin "$BIN/tsx" "${SCRIPT[@]}"
  assert_equal "$output" ""
  assert_regex "$stderr" "^list: needs Node 24, this is [0-9.]+ on [^ ]+\. Next: start it by npx tsx, or put node_modules/.bin first on PATH$"
}

@test "npx tsx runs a script from the repository, with whatever Node there is" {
  cd "$REPO"
  run -0 --separate-stderr env -i PATH="$PATH" HOME="$HOME" npx tsx "${SCRIPT[@]#"$REPO/"}"
  assert_regex "$output" '"backups":\[\]'
  assert_equal "$stderr" ""
}
