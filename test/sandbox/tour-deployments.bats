#!/usr/bin/env bats
# The tour of deployments, as a user starts it.
bats_require_minimum_version 1.5.0

load ../helpers

# Its app stays up for whoever plays with it; the tests of deployments want its port.
teardown_file() {
  env --unset=COMPOSE_FILE docker compose --project-name shop down --volumes --timeout 0 >/dev/null 2>&1 || true
  docker image ls --quiet shop/web | sort -u | xargs -r docker rmi --force >/dev/null 2>&1 || true
  rm -rf "${APP_DIR%/*}/shop"
}

@test "the tour deploys v1 and v2, a broken v3 is rolled back by itself, v2 by hand to v1, and no request fails" {
  run -0 npm --prefix "$REPO" run --silent tour -- deployments
  assert_output --regexp 'first deployment +[0-9.]+ [ms].* 1\.0\.0 answers'
  assert_output --regexp 'update to 2\.0\.0 +[0-9.]+ [ms].* 2\.0\.0 answers; no request failed'
  assert_line --partial '3.0.0 failed and 2.0.0 runs again'
  assert_output --regexp 'broken 3\.0\.0 .* exit 1, rolled back by itself; 2\.0\.0 answers; no request failed'
  assert_output --regexp 'rollback by hand .* 1\.0\.0 answers; no request failed'
  assert_output --regexp 'under load .* [1-9][0-9]+ requests, 0 failed; [1-9][0-9]* from 1\.0\.0, [1-9][0-9]* from 2\.0\.0'
  assert_output --regexp '\* +1\.0\.0 .* rollback +verified'
}

@test "what the tour says to try next works" {
  local file=${XDG_STATE_HOME:-$HOME/.local/state}/opsbook-sandbox
  file=$(ls -t "$file"/*/tour/deployments.sh | head -1)
  run -0 bash -c '. "$1" && cd "$2" && npx tsx scripts/deploy/rollback.ts --to 2.0.0 --yes' next "$file" "$REPO"
  assert_line '2.0.0 runs again, and was seen to answer'
}

@test "a tour that there is none of is refused, with those that there are" {
  run -2 npm --prefix "$REPO" run --silent tour -- cruise
  assert_output 'tour: there is no "cruise"; there are recovery, deployments, servers'
}
