#!/usr/bin/env bats
# Row 7: the nightly entry, on the host, run by its real cron as the app's user.
bats_require_minimum_version 1.5.0

load world

setup() {
  # The host's own app, and a store of the test's own, which only its user may read.
  HOST_DIR=$APP_DIR
  world
  NAME=opsbook-$APP
  FOLDER=/home/ec2-user/$NAME
  on_host install --directory --owner ec2-user --group ec2-user --mode 700 "$FOLDER"
  on_host tee "$FOLDER/env" >/dev/null <<END
APP=$APP
APP_DIR=$HOST_DIR
BACKUP_STORE=file://$FOLDER/store
BACKUP_DATABASES=compose://db/bloaty?user=postgres
END
  ENTRY="tsx $REPO/scripts/backup/backup.ts --env-file $FOLDER/env"
}

teardown() {
  on_host rm -rf "/etc/cron.d/$NAME" "$FOLDER"
}

# Writes the cron file of the test; cron reads it within a minute.
entry() {
  on_host tee "/etc/cron.d/$NAME" >/dev/null <<END
PATH=$1
* * * * * ec2-user $ENTRY >> $FOLDER/backup.log 2>&1
END
}

logged() { on_host cat "$FOLDER/backup.log" 2>/dev/null | grep -q "$1"; }

# Cron looks once a minute.
wait_for_cron() {
  local deadline=$((SECONDS + 100))
  until "$@"; do
    ((SECONDS < deadline)) || { on_host cat "$FOLDER/backup.log" >&2; return 1; }
    sleep 1
  done
}

as_cron() {
  docker ${SANDBOX_DOCKER_HOST:+--host "$SANDBOX_DOCKER_HOST"} exec --user ec2-user --workdir / \
    "$SANDBOX_HOST_CONTAINER" env -i PATH="$1" HOME=/ SHELL=/bin/sh /bin/sh -c "$2"
}

@test "row 7: cron's own run makes a backup and logs a line a step, and the freshness check sees it" {
  entry "$REPO/node_modules/.bin:/usr/bin:/bin"
  wait_for_cron logged 'write the manifest: done'
  on_host rm "/etc/cron.d/$NAME"
  run -0 on_host cat "$FOLDER/backup.log"
  assert_line --regexp '^20[0-9-]+T[0-9:]+Z backup: postgres bloaty: .* tables, .* rows \([0-9.]+ s\)$'
  refute_output --partial $'\x1b'
  local list="tsx $REPO/scripts/backup/list.ts --env-file $FOLDER/env"
  run -0 as_cron "$REPO/node_modules/.bin:/usr/bin:/bin" "$list --max-age 1h"
  run -3 as_cron "$REPO/node_modules/.bin:/usr/bin:/bin" "$list --max-age 0m"
  assert_output --partial 'old, allowed is'
}

@test "row 7: without docker on PATH the run fails in one line that says so, and leaves no backup" {
  # All of /usr/bin that the scripts need, but not docker.
  on_host sh -c 'mkdir "$1" && for tool in sh cat flock sync env; do ln -s "/usr/bin/$tool" "$1/$tool"; done' sh "$FOLDER/bin"
  run -1 as_cron "$REPO/node_modules/.bin:$FOLDER/bin" "$ENTRY"
  assert_output --partial 'docker: command not found'
  assert_equal "${#lines[@]}" 1
  run -0 as_cron "$REPO/node_modules/.bin:/usr/bin:/bin" "tsx $REPO/scripts/backup/list.ts --env-file $FOLDER/env"
  assert_output --partial 'no backups'
}
