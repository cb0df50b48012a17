#!/usr/bin/env bats
# What every script promises, because lib/script.ts does: a new script is tested as soon as it is there.
bats_require_minimum_version 1.5.0

load typed

SCRIPTS=("$REPO"/scripts/*/*.ts)

# What a script calls itself: its file's name, unless another has that.
name_of() {
  local stated
  stated=$(sed -n "s/^  name: '\(.*\)',/\1/p" "$1")
  basename "${stated:-$1}" .ts
}

# Words in the place of the operands that a script cannot do without.
operands_of() { grep -oE "'<[a-z]+>':" "$1" | sed 's/.*/word/'; }

# With a hook that names on stderr each package that is loaded.
help_tells_all_and_loads_little() {
  local source=$1 name flag
  name=$(name_of "$1")
  ENV+=(NODE_OPTIONS="--import=$BATS_TEST_DIRNAME/fixture/loaded.mjs")
  run -0 --separate-stderr opsbook "$source" --help
  assert_equal "$(sort -u <<<"$stderr" | tr '\n' ' ')" "loaded commander loaded esbuild loaded tsx "
  assert_output --partial "Usage: $name "
  local does step
  does=$(sed -n "s/^  does: '\(.*\)',/\1/p" "$source")
  step=$(sed -n "s/^  step: '\(.*\)',/\1/p" "$source")
  assert_equal "$(tr -s '\n ' ' ' <<<"$output" | grep -cF "$does Runbook: $step ")" 1
  assert_line --regexp "^  npx tsx ${source#"$REPO"/}( |$)"
  for flag in $(flags_of "$source"); do assert_line --regexp "^  $flag( |$)"; done
}

# The flags that a script states, and those that follow from what it states.
flags_of() {
  tr -s '\n ' ' ' <"$1" | grep -oE "(flag|option|repeatable)(<[^>]*>)?\( ?'--[a-z-]+" | grep -oE -- '--[a-z-]+$'
  ! grep -q '^  changes: true' "$1" || echo --dry-run
  ! grep -q '^  reports: true' "$1" || echo --json
  ! grep -q '^  asks: true' "$1" || echo --yes
  printf '%s\n' --env-file --verbose --help
}

# What has nothing to do with how a script is started is tested the fast way.
fast() { LOADER=(); }

refuses_an_unknown_flag() {
  fast
  local name
  name=$(name_of "$1")
  run -2 --separate-stderr opsbook "$1" --verbos
  assert_equal "$output" ""
  assert_equal "$stderr" \
    "$name: unknown option '--verbos' (Did you mean --verbose?). Next: run it with --help"
}

names_all_missing_settings() {
  fast
  local name setting
  name=$(name_of "$1")
  # shellcheck disable=SC2046
  run -2 --separate-stderr opsbook "$1" $(operands_of "$1")
  assert_equal "$output" ""
  for setting in APP APP_DIR $(required_by "$name"); do
    assert_regex "$stderr" "Z $name: error: $setting is not set \(.*\)\. Next: set it, for example $setting="
  done
  assert_equal "$(grep -cv ': error: [A-Z_]* is not set' <<<"$stderr")" 0
}

# The settings that docs/settings.md, which is proven against the settings, says a script must be given.
required_by() {
  sed -nE "s/^\| \`([A-Z_]+)\` .*\| required \|.*[| ,]$1(,| \|).*/\1/p" "$REPO/docs/settings.md"
}

# Node looks at --env-file even behind a script's name (nodejs/node#54232): where the file is not there, it says so
# itself, and exits 9 before any line of ours runs.
refuses_an_absent_env_file() {
  run -9 --separate-stderr opsbook "$1" --env-file absent.env
  assert_equal "$output" ""
  assert_equal "$stderr" "$NODE: absent.env: not found"
}

reads_settings_from_env_files() {
  fast
  echo "APP=Not-An-App" >"$BATS_TEST_TMPDIR/one.env"
  echo "APP_DIR=not/absolute" >"$BATS_TEST_TMPDIR/two.env"
  # shellcheck disable=SC2046
  run -2 --separate-stderr opsbook "$1" $(operands_of "$1") --env-file one.env --env-file two.env
  assert_equal "$output" ""
  assert_regex "$stderr" ": error: APP=Not-An-App: may contain only"
  assert_regex "$stderr" ": error: APP_DIR=not/absolute: must be an absolute path"
}

says_that_node_is_too_old() {
  local old=/usr/bin/node name
  name=$(name_of "$1")
  [ -x $old ] || skip "no $old"
  [[ $($old --version) =~ ^v(1.|2[0-3])\. ]] || skip "$old is new enough"
  NODE=$old run -2 --separate-stderr opsbook "$1"
  assert_equal "$output" ""
  assert_equal "${#stderr_lines[@]}" 1
  assert_regex "$stderr" "^$name: needs Node 24, this is .* Next: start it by npx tsx, or put"
}

for script in "${SCRIPTS[@]}"; do
  short=${script#"$REPO"/scripts/}
  bats_test_function --description "$short --help tells what it does, its step, an example and every flag, and loads commander and nothing else" \
    -- help_tells_all_and_loads_little "$script"
  bats_test_function --description "$short refuses an unknown flag in one line" -- refuses_an_unknown_flag "$script"
  bats_test_function --description "$short names all settings that are missing, together" -- names_all_missing_settings "$script"
  bats_test_function --description "$short tells what is wrong in its env files, together" -- reads_settings_from_env_files "$script"
  bats_test_function --description "$short refuses an env file that is not there" -- refuses_an_absent_env_file "$script"
  bats_test_function --description "$short says in one line that Node is too old" -- says_that_node_is_too_old "$script"
done

@test "there are scripts to test" {
  [ "${#SCRIPTS[@]}" -ge 6 ]
}
