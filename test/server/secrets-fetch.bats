#!/usr/bin/env bats
# The env file as fetch-secrets makes it of what a store holds, and what it refuses.
load secrets

setup() { secrets_world; }

fetch() { run --separate-stderr opsbook server/fetch-secrets "$@"; }

@test "a first fetch writes what the template makes of the secret, readable by its owner alone" {
  secret '{"POSTGRES_PASSWORD": "a/b@c d", "ANTHROPIC_API_KEY": "sk-ant-$1"}'
  template <<'ENV'
# The database.
POSTGRES_PASSWORD=${POSTGRES_PASSWORD}
DATABASE_URL=postgresql://postgres:${POSTGRES_PASSWORD|urlencode}@db:5432/bloaty

SESSION_COOKIE_SECURE=true
ANTHROPIC_API_KEY=${ANTHROPIC_API_KEY}
MODEL=${MODEL:-sonnet}
ENV
  fetch
  assert_success
  assert_output - <<'LIST'
+ ANTHROPIC_API_KEY
+ DATABASE_URL
+ MODEL
+ POSTGRES_PASSWORD
+ SESSION_COOKIE_SECURE
LIST
  assert_equal "$(cat "$APP_DIR/.env")" '# Written by opsbook from secretsmanager:'"$SECRET"'; change it there.
# The database.
POSTGRES_PASSWORD='"'a/b@c d'"'
DATABASE_URL=postgresql://postgres:a%2Fb%40c%20d@db:5432/bloaty

SESSION_COOKIE_SECURE=true
ANTHROPIC_API_KEY='"'"'sk-ant-$1'"'"'
MODEL=sonnet'
  assert_equal "$(stat -c %a "$APP_DIR/.env")" 600
}

@test "names are marked by what happens to them, and no value is printed anywhere" {
  secret '{"SAME": "same-hush", "NEW": "new-hush", "OTHER": "other-hush"}'
  printf 'SAME=same-hush\nOTHER=before-hush\nBACKUP_STORE=s3://x/\n' >"$APP_DIR/.env"
  fetch --verbose
  assert_success
  assert_output - <<'LIST'
= BACKUP_STORE
+ NEW
~ OTHER
= SAME
LIST
  refute_regex "$output$stderr" hush
  assert_regex "$stderr" "kept \(--prune removes them\): BACKUP_STORE"
  assert_equal "$(compose_reads BACKUP_STORE)" s3://x/
  fetch --prune --json
  assert_success
  assert_output '{"file":"'"$APP_DIR"'/.env","names":{"BACKUP_STORE":"-","NEW":"=","OTHER":"=","SAME":"="},"recreate":[]}'
  run ! grep BACKUP_STORE "$APP_DIR/.env"
}

@test "a second fetch writes nothing and says so; a file that others may read is closed" {
  secret '{"A": "a"}'
  fetch
  local before
  before=$(stat -c %i "$APP_DIR/.env")
  fetch
  assert_success
  assert_regex "$stderr" "$APP_DIR/.env is as it should be"
  assert_equal "$(stat -c %i "$APP_DIR/.env")" "$before"
  chmod 644 "$APP_DIR/.env"
  fetch
  assert_success
  assert_equal "$(stat -c %a "$APP_DIR/.env")" 600
}

@test "a dry run names what would change and writes nothing" {
  secret '{"A": "a-hush"}'
  fetch --dry-run
  assert_success
  assert_output '+ A'
  assert_regex "$stderr" "would: write $APP_DIR/.env"
  [ ! -e "$APP_DIR/.env" ]
}

# The fetch fails with this exit code and says these lines; the file that was there is as it was.
refused() {
  local code=$1
  shift
  echo 'OLD=kept' >"$APP_DIR/.env"
  fetch
  assert_equal "$status" "$code"
  assert_output ''
  local text
  for text in "$@"; do [[ $stderr == *"error: $text"* ]] || fail "$stderr"; done
  assert_equal "$(grep -c error: <<<"$stderr")" $#
  assert_equal "$(cat "$APP_DIR/.env")" OLD=kept
}

@test "row 13: missing keys, empty values, null, lists and numbers are all reported together, by name" {
  secret '{"EMPTY": "", "NULL": null, "LIST": ["a"], "OBJECT": {"a": 1}, "NUMBER": 5432, "FLAG": true, "GOOD": "hush-hush", "bad-name": "x"}'
  template <<<$'A=${MISSING}\nB=${EMPTY}\nC=${NULL}\nD=${LIST}${OBJECT}\nE=${NUMBER}${FLAG}\nF=${GOOD}\nG=${ALSO}'
  refused 1 "secretsmanager:$SECRET: MISSING is missing" "secretsmanager:$SECRET: EMPTY is empty" \
    "secretsmanager:$SECRET: NULL is null" "secretsmanager:$SECRET: LIST is a list" \
    "secretsmanager:$SECRET: OBJECT is an object" "secretsmanager:$SECRET: NUMBER is a number" \
    "secretsmanager:$SECRET: FLAG is a boolean" "secretsmanager:$SECRET: ALSO is missing"
  refute_regex "$stderr" hush
}

@test "row 13, ✗ jq writes the literal null: a missing key never becomes that text, and an optional one has its default" {
  secret '{"A": "a"}'
  template <<<$'A=${A}\nBACKUP_S3_BUCKET=${BACKUP_S3_BUCKET:-}'
  fetch
  assert_success
  assert_equal "$(tail -1 "$APP_DIR/.env")" 'BACKUP_S3_BUCKET='
}

@test "row 13: a secret that is no JSON object of texts is refused" {
  secret 'just a password'
  refused 1 "secretsmanager:$SECRET: is not JSON"
  local text what
  for text in '"text"|a string' '["a"]|a list' '17|a number' 'null|null'; do
    what=${text#*|}
    aws_cli secretsmanager put-secret-value --secret-id "$SECRET" --secret-string "${text%|*}" >/dev/null
    refused 1 "secretsmanager:$SECRET: is $what, and has to be a JSON object"
  done
  aws_cli secretsmanager put-secret-value --secret-id "$SECRET" --secret-binary AAEC >/dev/null
  refused 1 "secretsmanager:$SECRET: is binary"
}

@test "row 13: a key that is no name of a variable is named, unless the template does without it" {
  secret '{"good": "a", "db-password": "b", "1ST": "c"}'
  refused 1 "secretsmanager:$SECRET: db-password is not a name of an environment variable" "secretsmanager:$SECRET: 1ST is not a name"
  template <<<'GOOD=${good}'
  fetch
  assert_success
}

@test "row 15: a secret that is not there, and one that may not be read, leave the old file as it is" {
  refused 1 "secretsmanager:$SECRET: there are no secrets"
  secret '{"A": "a"}'
  as READER
  refused 1 "GetSecretValue secretsmanager:$SECRET: AccessDenied"
  assert_regex "$stderr" "allowed secretsmanager:GetSecretValue"
  ENV+=(SECRETS_FROM="ssm:$PARAMETERS/")
  refused 1 "GetParametersByPath ssm:$PARAMETERS/: AccessDenied"
  assert_regex "$stderr" "allowed ssm:GetParametersByPath"
}

@test "row 15: from another folder the same file is written, not a second one" {
  secret '{"A": "a"}'
  mkdir "$BATS_TEST_TMPDIR/elsewhere"
  BATS_TEST_TMPDIR=$BATS_TEST_TMPDIR/elsewhere fetch
  assert_success
  [ -f "$APP_DIR/.env" ] && [ ! -e "$BATS_TEST_TMPDIR/elsewhere/.env" ]
}

@test "64 KB in one secret arrive whole" {
  local big
  big=$(head -c 48000 /dev/urandom | base64 -w 0)
  aws_cli secretsmanager create-secret --name "$SECRET" --secret-string "{\"BIG\": \"$big\"}" >/dev/null
  fetch
  assert_success
  assert_equal "$(sed -n 's/^BIG=//p' "$APP_DIR/.env" | md5sum)" "$(md5sum <<<"$big")"
}
