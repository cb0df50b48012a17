#!/usr/bin/env bats
# Secrets that nobody has to make up.
load secrets

setup() { secrets_world; }

generate() { run --separate-stderr opsbook server/generate-secrets "$@"; }

without_store() { ENV+=(SECRETS_FROM=); }

value() { sed -n "s/^$1=//p" "$APP_DIR/.env"; }

droplet_template() {
  template <<'ENV'
POSTGRES_PASSWORD=${generate:base64url:32}
JWT_SECRET_KEY=${generate:base64url:64}
MINIO_ROOT_PASSWORD=${generate:hex:20}
MINIO_SECRET_KEY=${MINIO_ROOT_PASSWORD}
DATABASE_URL=postgresql://app:${POSTGRES_PASSWORD|urlencode}@db:5432/app
ENV
}

@test "without a store the file gets what the template asks for, and a second run overwrites nothing" {
  without_store
  droplet_template
  generate
  assert_success
  assert_output $'+ JWT_SECRET_KEY\n+ MINIO_ROOT_PASSWORD\n+ POSTGRES_PASSWORD'
  assert_equal "$(value MINIO_SECRET_KEY)" "$(value MINIO_ROOT_PASSWORD)"
  assert_regex "$(value MINIO_ROOT_PASSWORD)" '^[0-9a-f]{40}$'
  assert_equal "$(value DATABASE_URL)" "postgresql://app:$(value POSTGRES_PASSWORD)@db:5432/app"
  local before
  before=$(md5sum "$APP_DIR/.env")
  generate
  assert_success
  assert_output $'= JWT_SECRET_KEY\n= MINIO_ROOT_PASSWORD\n= POSTGRES_PASSWORD'
  assert_equal "$(md5sum "$APP_DIR/.env")" "$before"
}

@test "✗ openssl rand -base64 24 contains '/': what is generated needs no escaping in a URL, ever" {
  run -0 "$NODE" --input-type=module -e "
    import { draw, generators, parseTemplate } from '$REPO/lib/server/env-template.ts';
    for (const kind of ['hex:16', 'hex:32', 'base64url:24', 'base64url:64']) {
      const generator = generators(parseTemplate('A=\${generate:' + kind + '}', 'T')).get('A');
      for (let i = 0; i < 1000; i++) {
        const text = draw(generator).reveal();
        if (!/^[\w-]+\$/.test(text) || encodeURIComponent(text) !== text) throw new Error(kind);
      }
    }"
}

@test "✗ openssl rand -base64 64 prints two lines: 64 bytes are one line of the file" {
  without_store
  template <<<'JWT_SECRET_KEY=${generate:base64url:64}'
  generate
  assert_success
  assert_equal "$(wc -l <"$APP_DIR/.env")" 2
  assert_equal "$(value JWT_SECRET_KEY | wc -m)" 87
  assert_equal "$(compose_reads JWT_SECRET_KEY)" "$(value JWT_SECRET_KEY)"
}

@test "with a store they are drawn into it, and only those that it lacks" {
  secret '{"POSTGRES_PASSWORD": "of-old", "OTHER": "x"}'
  droplet_template
  as SECRETS_WRITER
  generate
  assert_success
  assert_output $'+ JWT_SECRET_KEY\n+ MINIO_ROOT_PASSWORD\n= POSTGRES_PASSWORD'
  assert_regex "$stderr" 'next: npx tsx scripts/server/fetch-secrets.ts'
  assert_equal "$(stored POSTGRES_PASSWORD) $(stored OTHER)" 'of-old x'
  assert_regex "$(stored MINIO_ROOT_PASSWORD)" '^[0-9a-f]{40}$'
  [ ! -e "$APP_DIR/.env" ]
}

@test "a value that only the file has is not replaced by a new one in the store" {
  droplet_template
  echo 'POSTGRES_PASSWORD=in-use' >"$APP_DIR/.env"
  as SECRETS_WRITER
  generate
  assert_failure 1
  assert_regex "$stderr" "POSTGRES_PASSWORD has a value in $APP_DIR/.env, and none in the store. Next: .*push-secrets"
  run ! aws_cli secretsmanager get-secret-value --secret-id "$SECRET"
}

@test "what has to be given by somebody is asked for, all of it together, and nothing is written" {
  without_store
  template <<<$'KEY=${generate:hex:32}\nANTHROPIC_API_KEY=${ANTHROPIC_API_KEY}\nSMTP_PASSWORD=${SMTP_PASSWORD}'
  printf 'KEY=\nSMTP_PASSWORD=\n' >"$APP_DIR/.env"
  generate
  assert_failure 1
  assert_regex "$stderr" 'the env file: ANTHROPIC_API_KEY is missing'
  assert_regex "$stderr" 'the env file: SMTP_PASSWORD is missing'
  assert_equal "$(cat "$APP_DIR/.env")" $'KEY=\nSMTP_PASSWORD='
}

@test "a template that is wrong is refused by line, all of it together" {
  template <<<$'A=${generate:base64:24}\nB="quoted"\nC=x # comment\nD=${X|json}\nA=twice\nnonsense\nE=${generate:hex:4}\nF=1\nF=2'
  generate
  assert_failure 2
  assert_equal "$(grep -oE 'line [0-9]: [^.]*' <<<"$stderr")" 'line 1: generate:base64:24 is not generate:hex:BYTES or generate:base64url:BYTES of 16 to 512 bytes
line 2: B: write the text without quotes, the file gets its own
line 3: C: a comment needs a line of its own
line 4: D: ${X|json} is not ${NAME}, ${NAME|urlencode} or ${NAME:-default}
line 6: is neither a comment nor NAME=text
line 7: generate:hex:4 is not generate:hex:BYTES or generate:base64url:BYTES of 16 to 512 bytes
line 9: F is there twice'
}

@test "a dry run draws nothing into the store or the file" {
  droplet_template
  as SECRETS_WRITER
  generate --dry-run
  assert_success
  assert_regex "$stderr" "would: write secretsmanager:$SECRET"
  run ! aws_cli secretsmanager get-secret-value --secret-id "$SECRET"
}
