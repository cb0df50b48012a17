#!/usr/bin/env bats
# Secrets on their way into a store.
load secrets

setup() {
  secrets_world
  as SECRETS_WRITER
}

push() { run --separate-stderr opsbook server/push-secrets "$@"; }

@test "an env file is pushed: names and what changes are shown, values never" {
  printf '%s\n' 'A="a-hush"' "B='b-hush'" 'C=c-hush' >"$APP_DIR/.env"
  push --yes --verbose
  assert_success
  assert_output $'+ A\n+ B\n+ C'
  refute_regex "$stderr" hush
  assert_equal "$(stored B)" b-hush
  printf 'B=b2-hush\nC=c-hush\n' >"$APP_DIR/.env"
  push --yes
  assert_success
  assert_output $'= A\n~ B\n= C'
  assert_regex "$stderr" 'only stored, and kept \(--prune removes them\): A'
  assert_equal "$(stored A) $(stored B)" 'a-hush b2-hush'
  push --yes --prune
  assert_success
  assert_output $'- A\n= B\n= C'
  assert_equal "$(stored A)" '(none)'
  push --yes
  assert_regex "$stderr" 'everything is stored as the file has it'
}

@test "merging keeps what is stored in another shape" {
  secret '{"KEEP": {"nested": [1, null]}, "A": "a"}'
  echo 'A=b' >"$APP_DIR/.env"
  push --yes
  assert_success
  assert_equal "$(aws_cli secretsmanager get-secret-value --secret-id "$SECRET" --query SecretString --output text)" \
    '{"KEEP":{"nested": [1, null]},"A":"b"}'
}

# The text of the secret.
stored_text() { aws_cli secretsmanager get-secret-value --secret-id "$SECRET" --query SecretString --output text; }

# Writes these names at once, each as a run of its own would that has read before any of them has written.
write_at_once() {
  local settings=("${ENV[@]}")
  env "${settings[@]}" "$NODE" --input-type=module -e "
    import { Secret } from '$REPO/lib/secret.ts';
    import { parseAddress } from '$REPO/lib/server/secret-settings.ts';
    import { openStores } from '$REPO/lib/server/secret-stores.ts';
    const address = parseAddress(process.env.SECRETS_FROM);
    await Promise.all(process.argv.slice(1).map(async (name) => {
      const [store] = await openStores({ SECRETS_FROM: [address], AWS_REGION: process.env.AWS_REGION });
      await store.read();
      await store.write({ set: new Map([[name, new Secret(name + '-hush')]]), remove: [] });
    }));" "$@"
}

@test "H9: writes of different names at once lose none, whether the secret is there yet or not" {
  local name
  run -0 write_at_once A B C D E F
  run -0 write_at_once G H I J K L
  for name in A B C D E F G H I J K L; do assert_equal "$(stored "$name")" "$name-hush"; done
  # What others lost on the way leaves no label behind.
  run -0 aws_cli secretsmanager describe-secret --secret-id "$SECRET" --query 'values(VersionIdsToStages)[]' --output text
  refute_output --partial OPSBOOK_PENDING
}

@test "H9: pushes at once, from other hosts: all end well, and all is there" {
  local name pids=()
  for name in A B; do
    mkdir "$BATS_TEST_TMPDIR/$name"
    echo "$name=$name-hush" >"$BATS_TEST_TMPDIR/$name/.env"
    (
      ENV+=(APP_DIR="$BATS_TEST_TMPDIR/$name")
      opsbook server/push-secrets --yes >"$BATS_TEST_TMPDIR/$name.out" 2>&1
    ) 3>&- &
    pids+=($!)
  done
  for pid in "${pids[@]}"; do wait "$pid" || fail "$(cat "$BATS_TEST_TMPDIR"/*.out)"; done
  assert_equal "$(stored A) $(stored B)" 'A-hush B-hush'
}

# Writes A as a run does between whose reading and writing another run, from elsewhere, has written it; says what it says.
write_too_late() {
  run -0 env "${ENV[@]}" SECRETS_FROM="$1" "$NODE" --input-type=module -e "
    import { Secret } from '$REPO/lib/secret.ts';
    import { parseAddress } from '$REPO/lib/server/secret-settings.ts';
    import { openStores } from '$REPO/lib/server/secret-stores.ts';
    const open = async () => (await openStores({ SECRETS_FROM: [parseAddress(process.env.SECRETS_FROM)], AWS_REGION: process.env.AWS_REGION }))[0];
    const set = (text) => ({ set: new Map([['A', new Secret(text)]]), remove: [] });
    const [mine, theirs] = [await open(), await open()];
    await Promise.all([mine.read(), theirs.read()]);
    await theirs.write(set('theirs'));
    await mine.write(set('mine')).catch((error) => console.log(error.message));"
  assert_output "$1: somebody else has changed A meanwhile"
}

@test "H9: a name that somebody else changed since it was read is not written over; of a parameter, one that is new" {
  secret '{"A": "a"}'
  write_too_late "secretsmanager:$SECRET"
  assert_equal "$(stored A)" theirs
  write_too_late "ssm:$PARAMETERS/"
  run -0 aws_cli ssm get-parameter --name "$PARAMETERS/A" --with-decryption --query Parameter.Value --output text
  assert_output theirs
}

@test "H9: what others keep in the secret stays as it is, to the byte: large numbers, escapes, a key called __proto__" {
  secret '{"ID": 1234567890123456789, "HUGE":1e400, "TEXT":"caf\u00e9 \/", "__proto__": {"a": 1.0}, "A":"a"}'
  echo 'A=b' >"$APP_DIR/.env"
  push --yes
  assert_success
  assert_equal "$(stored_text)" \
    '{"ID":1234567890123456789,"HUGE":1e400,"TEXT":"caf\u00e9 \/","__proto__":{"a": 1.0},"A":"b"}'
}

@test "H9: a secret that was made without a value, as Terraform does it, is filled" {
  aws_cli secretsmanager create-secret --name "$SECRET" >/dev/null
  echo 'A=a' >"$APP_DIR/.env"
  push --yes
  assert_success
  assert_equal "$(stored A)" a
}

@test "✗ sed and an unquoted echo replace a key: one key is replaced by itself, whatever is in its value" {
  secret '{"OPENAI_KEY": "of-old", "OPENAI_KEY_2": "of-two", "ZED": "z$z"}'
  printf '%s\n' "OPENAI_KEY='new \$HOME & #1'" >"$APP_DIR/ci.env"
  push ci.env --yes
  assert_success
  assert_output $'~ OPENAI_KEY\n= OPENAI_KEY_2\n= ZED'
  run -0 --separate-stderr opsbook server/fetch-secrets
  assert_equal "$(compose_reads OPENAI_KEY)" 'new $HOME & #1'
  assert_equal "$(compose_reads OPENAI_KEY_2) $(compose_reads ZED)" 'of-two z$z'
}

@test "spotter's 63 parameters go up and come back, page by page" {
  ENV+=(SECRETS_FROM="ssm:$PARAMETERS")
  seq 63 | sed 's/.*/STRIPE_PRICE_&="price &"/' >"$APP_DIR/.env"
  push --yes
  assert_success
  rm "$APP_DIR/.env"
  run -0 --separate-stderr opsbook server/fetch-secrets
  assert_equal "$(grep -c "^STRIPE_PRICE_[0-9]*='price [0-9]*'\$" "$APP_DIR/.env")" 63
}

@test "what the template derives or says itself stays out of the store" {
  template <<<$'PASSWORD=${PASSWORD}\nURL=postgresql://x:${PASSWORD|urlencode}@db/x\nSECURE=true\nKEY=${generate:hex:32}'
  printf '%s\n' PASSWORD=p URL=u SECURE=false KEY=k APP=x >"$APP_DIR/.env"
  push --yes
  assert_success
  assert_output $'+ KEY\n+ PASSWORD'
  assert_regex "$stderr" 'not pushed, .*: URL, SECURE, APP'
}

@test "without a terminal it does not ask: nothing is stored" {
  echo 'A=a' >"$APP_DIR/other.env"
  push other.env
  assert_failure 2
  assert_regex "$stderr" 'Change A in secretsmanager:.*pass --yes'
  push other.env --dry-run
  assert_success
  run ! aws_cli secretsmanager get-secret-value --secret-id "$SECRET"
}

@test "an empty value is not stored, and the host's role may not store" {
  printf 'A=\nB=b\n' >"$APP_DIR/.env"
  push --yes
  assert_failure 1
  assert_regex "$stderr" "$APP_DIR/.env: A is empty"
  secret '{"B": "a"}'
  as SECRETS_READER
  echo 'B=b' >"$APP_DIR/.env"
  push --yes
  assert_failure 1
  assert_regex "$stderr" 'AccessDenied.*allowed secretsmanager:PutSecretValue'
}

@test "more than 64 KB in a secret is refused before anything is stored" {
  secret '{"A": "a"}'
  printf 'A=b\nBIG=%s\n' "$(head -c 65520 /dev/zero | tr '\0' x)" >"$APP_DIR/.env"
  push --yes
  assert_failure 1
  assert_regex "$stderr" "secretsmanager:$SECRET: all of it together is too long: 65,538 bytes; the limit is 65536"
  assert_equal "$(stored A)" a
}

@test "Parameter Store: SecureStrings, longer ones as advanced parameters, and no other path is touched" {
  ENV+=(SECRETS_FROM="ssm:$PARAMETERS/")
  printf 'SHORT=s\nLONG=%s\n' "$(head -c 5000 /dev/zero | tr '\0' x)" >"$APP_DIR/.env"
  push --yes
  assert_success
  run -0 aws_cli ssm describe-parameters --parameter-filters "Key=Path,Values=$PARAMETERS" \
    --query 'Parameters[].[Name,Type,Tier]' --output text
  assert_line --partial "$PARAMETERS/SHORT"$'\tSecureString\t'
  assert_line "$PARAMETERS/LONG"$'\tSecureString\tAdvanced'
  aws_cli ssm put-parameter --name "$PARAMETERS/deeper/SHORT" --value x --type String >/dev/null
  echo 'SHORT=s2' >"$APP_DIR/.env"
  push --yes --prune
  assert_success
  assert_output $'- LONG\n~ SHORT'
  run -0 aws_cli ssm describe-parameters --query "Parameters[?starts_with(Name, '$PARAMETERS/')].Name" --output text
  assert_output "$PARAMETERS/SHORT"$'\t'"$PARAMETERS/deeper/SHORT"
}

@test "Parameter Store: more than 8 KB and {{…}} are refused before anything is stored" {
  ENV+=(SECRETS_FROM="ssm:$PARAMETERS/")
  printf 'A=a\nBIG=%s\nBRACES="a {{x}} b"\n' "$(head -c 8193 /dev/zero | tr '\0' x)" >"$APP_DIR/.env"
  push --yes
  assert_failure 1
  assert_regex "$stderr" "ssm:$PARAMETERS/: BIG is too long: 8,193 bytes; the limit is 8192"
  assert_regex "$stderr" "ssm:$PARAMETERS/: BRACES has \"\{\{…\}\}\" in it"
  run -0 aws_cli ssm describe-parameters --query "Parameters[?starts_with(Name, '$PARAMETERS/')].Name" --output text
  assert_output ''
}

@test "of two stores each keeps its own names, a new one goes to the first, and two values for one name are refused" {
  secret '{"A": "a"}'
  parameter B b
  ENV+=(SECRETS_FROM="secretsmanager:$SECRET,ssm:$PARAMETERS/")
  printf 'A=a2\nB=b2\nC=c\n' >"$APP_DIR/.env"
  push --yes
  assert_success
  assert_equal "$(stored A) $(stored B) $(stored C)" 'a2 (none) c'
  parameter A a3
  run --separate-stderr opsbook server/fetch-secrets
  assert_failure 1
  assert_regex "$stderr" "A has two values: one in secretsmanager:$SECRET, another in ssm:$PARAMETERS/"
}
