#!/usr/bin/env bats
# A bare droplet becomes one that an app can run on, over ssh, from a laptop; as it is found by those who use it then.
bats_require_minimum_version 1.5.0
load setup

setup_file() {
  local BATS_TEST_TMPDIR=$BATS_FILE_TMPDIR
  setup_up
  bare_host bloaty
  bring_node
  reach root
  settings
  # The first run dies while Docker is being installed, and apt with it, as when the machine is reset; the second goes on.
  start_opsbook server/setup-droplet
  wait_for_minutes installing_docker
  on_bare pkill -9 -x 'apt-get|dpkg|dpkg-deb'
  kill -9 "$PID" 2>/dev/null || true
  on_bare sh -c "dpkg-query -W -f '\${Status}' docker.io" >"$BATS_FILE_TMPDIR/half"
  cp "$ERR" "$BATS_FILE_TMPDIR/first"
  opsbook server/setup-droplet >"$BATS_FILE_TMPDIR/second" 2>&1 || { cat "$BATS_FILE_TMPDIR/second" >&2; return 1; }
}

teardown_file() { remove_bare; }

setup() {
  reach root
  settings
}

settings() {
  app APP_DIRECTORIES=uploads DOMAIN=bloaty.test BACKUP_SCHEDULE='0 3 * * *' \
    OPSBOOK_REPOSITORY="file://$REPO"
}

wait_for_minutes() {
  for _ in 1 2 3 4 5 6 7 8 9; do ! wait_for "$@" 2>/dev/null || return 0; done
  cat "$ERR" >&2
  return 1
}
installing_docker() { on_bare sh -c '[ -e /var/lib/dpkg/info/docker.io.list ]'; }

@test "an interrupted set-up continues: what is done stays, the rest is made" {
  run -0 cat "$BATS_FILE_TMPDIR/first"
  assert_line --regexp '\+ packages up to date: done'
  refute_output --partial 'items:'
  run ! grep -qx 'install ok installed' "$BATS_FILE_TMPDIR/half"
  run -0 cat "$BATS_FILE_TMPDIR/second"
  assert_line --partial '= packages up to date'
  assert_line --partial '= tools that the scripts use'
  assert_line --regexp '\+ Docker \(docker.io docker-cli docker-compose docker-buildx iptables\): done'
  assert_line --regexp '[0-9]+ items: [0-9]+ unchanged, [0-9]+ created, [0-9]+ changed'
}

@test "a second run changes nothing, says so, and takes less than 15 s" {
  # A commit that came meanwhile is fetched first.
  opsbook server/setup-droplet
  local before=$SECONDS
  run -0 opsbook server/setup-droplet
  ((SECONDS - before < 15))
  assert_unchanged
  refute_output --regexp ' [+~!] '
}
