#!/usr/bin/env bats
# The tour of servers, as a user starts it.
bats_require_minimum_version 1.5.0

load ../helpers

@test "a bare droplet is set up, given secrets and a certificate, runs the app, is verified, and is managed by ssh; an instance by SSM" {
  run -0 npm --prefix "$REPO" run --silent tour -- servers
  assert_output --regexp 'set-up +[0-9.]+ [ms].* a bare machine is ready for the app'
  assert_output --regexp 'set-up, again .* [1-9][0-9]* items, all unchanged'
  assert_output --regexp "secrets .* drawn, stored, and on the droplet in a file for its owner's eyes"
  assert_output --regexp 'first deployment .* https://bloaty-app\.test serves 1\.0\.0, with a certificate that has 89 days left'
  for check in dns tls redirect health version containers cron ports secrets; do
    assert_line --regexp "^✓ $check "
  done
  refute_line --regexp '^[✗?] '
  assert_output --regexp 'remote, by ssh .* status, logs, create-user, exec'
  assert_output --regexp 'remote, by SSM .* the password is in none of the [1-9][0-9]* commands that SSM keeps'
  # The page of the report.
  local page
  page=$(sed -n 's/.*no check finds a problem; as a page: //p' <<<"$output")
  run -0 grep -c '<svg\|<table' "$page"
  run ! grep -E '(src|href)="?https?:' "$page"
}

@test "what the tour says to try next works" {
  local file=${XDG_STATE_HOME:-$HOME/.local/state}/opsbook-sandbox
  file=$(ls -t "$file"/*/tour/servers.sh | head -1)
  next() { bash -c '. "$1" && cd "$2" && shift 2 && exec npx tsx "$@"' next "$file" "$REPO" "$@"; }
  run -0 next scripts/server/fetch-secrets.ts --check
  run -0 next scripts/server/remote.ts shell docker stop bloaty-redis-1
  run -3 next scripts/server/verify.ts
  assert_line --regexp '^✗ containers +redis is stopped'
  run -0 next scripts/server/remote.ts restart redis
}
