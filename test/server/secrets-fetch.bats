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
POSTGRES_PASSWORD="a/b@c d"
DATABASE_URL="postgresql://postgres:a%2Fb%40c%20d@db:5432/bloaty"

SESSION_COOKIE_SECURE="true"
ANTHROPIC_API_KEY="sk-ant-\$1"
MODEL="sonnet"'
  assert_equal "$(stat -c %a "$APP_DIR/.env")" 600
}
