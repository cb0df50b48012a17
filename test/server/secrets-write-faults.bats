#!/usr/bin/env bats
# The env file while it is written, and what is left of it when that goes wrong.
load secrets

setup() { secrets_world; }

teardown() {
  end_started
  ! mountpoint --quiet "$APP_DIR" || umount "$APP_DIR"
}

fetch() { run --separate-stderr opsbook server/fetch-secrets "$@"; }

# A program that stands before the real one of that name; its text is read from stdin.
before_real() {
  mkdir -p "$BATS_TEST_TMPDIR/bin"
  { echo '#!/bin/sh'; cat; echo "exec $(command -v "$1") \"\$@\""; } >"$BATS_TEST_TMPDIR/bin/$1"
  chmod +x "$BATS_TEST_TMPDIR/bin/$1"
  ENV+=(PATH="$BATS_TEST_TMPDIR/bin:$REPO/node_modules/.bin:/usr/bin:/bin")
}

# The old file is as it was, and nothing lies beside it.
assert_old_file() {
  assert_equal "$(cat "$APP_DIR/.env")" OLD=kept
  assert_equal "$(cd "$APP_DIR" && echo .env*)" .env
}

@test "row 14, ✗ created with the default umask: file mode while writing: a reader loop as nobody over 20 first writes never reads it" {
  local folder
  folder=$(mktemp -d)
  chmod 755 "$folder"
  echo readable >"$folder/.env.public"
  setpriv --reuid=65534 --regid=65534 --clear-groups sh -c \
    'while :; do cat "$1"/.env* 2>/dev/null; done' reader "$folder" >"$BATS_TEST_TMPDIR/read" 3>&- &
  STARTED+=($!)
  wait_for [ -s "$BATS_TEST_TMPDIR/read" ]
  "$NODE" --input-type=module -e "
    import { rmSync } from 'node:fs';
    import { writeHostFile } from '$REPO/lib/host-files.ts';
    import { localHost } from '$REPO/lib/hosts.ts';
    for (let i = 0; i < 20; i++) {
      rmSync('$folder/.env', { force: true });
      await writeHostFile(localHost(), '$folder/.env', 'PASSWORD=hush\n'.repeat(20_000));
    }"
  end_started
  rm -r "$folder"
  grep -q readable "$BATS_TEST_TMPDIR/read"
  run ! grep -q hush "$BATS_TEST_TMPDIR/read"
}

@test "row 16, ✗ written non-atomically: kill while writing: the old file is whole, and the next run replaces what the killed one left" {
  secret '{"A": "new"}'
  echo OLD=kept >"$APP_DIR/.env"
  before_real cat <<<'[ $# -gt 0 ] || { head -c 10; kill -KILL $PPID; exit; }'
  fetch
  assert_failure 1
  assert_regex "$stderr" "$APP_DIR/.env was not written: .*killed"
  assert_equal "$(cat "$APP_DIR/.env")" OLD=kept
  assert_equal "$(stat -c %a "$APP_DIR/.env.opsbook-new" "$APP_DIR/.env.opsbook-new/new" | xargs)" '700 600'
  rm "$BATS_TEST_TMPDIR/bin/cat"
  fetch
  assert_success
  assert_equal "$(cd "$APP_DIR" && echo .env*) $(compose_reads A)" '.env new'
}

@test "row 16: a script that is killed while it writes leaves the old file whole" {
  secret '{"A": "new"}'
  echo OLD=kept >"$APP_DIR/.env"
  before_real sync <<<"touch '$BATS_TEST_TMPDIR/syncing'; while [ ! -e '$BATS_TEST_TMPDIR/go' ]; do sleep 0.05; done; kill -KILL \$PPID; exit"
  start_opsbook server/fetch-secrets
  wait_for [ -e "$BATS_TEST_TMPDIR/syncing" ]
  kill -KILL "$PID"
  wait_for gone "$PID"
  assert_equal "$(cat "$APP_DIR/.env")" OLD=kept
  touch "$BATS_TEST_TMPDIR/go"
}

@test "row 16: what arrives in part is not written" {
  secret '{"A": "new"}'
  echo OLD=kept >"$APP_DIR/.env"
  before_real cat <<<'[ $# -gt 0 ] || { head -c 10; exit; }'
  fetch
  assert_failure 1
  assert_regex "$stderr" 'only a part of it arrived: not written'
  assert_old_file
}

@test "row 16: disk full while writing: the old file is whole, and no part of the new one stays" {
  secret "{\"A\": \"$(head -c 60000 /dev/zero | tr '\0' x)\"}"
  mount -t tmpfs -o size=64k,mode=755 tmpfs "$APP_DIR"
  echo OLD=kept >"$APP_DIR/.env"
  fetch
  assert_failure 1
  assert_regex "$stderr" "$APP_DIR/.env was not written: .*No space left on device"
  assert_old_file
}

@test "A15: what a deployment writes into the file between reading and writing it is not lost, nor what is drawn" {
  ENV+=(SECRETS_FROM=)
  template <<<'KEY=${generate:hex:32}'
  echo OLD=kept >"$APP_DIR/.env"
  # The lock of the file, which comes after it was read; that of the script comes before.
  before_real flock <<<"[ \"\$1\" != 9 ] || [ -e '$BATS_TEST_TMPDIR/deployed' ] || { touch '$BATS_TEST_TMPDIR/deployed'; echo COMPOSE_FILE=pinned.yml >>'$APP_DIR/.env'; }"
  run --separate-stderr opsbook server/generate-secrets
  assert_failure 1
  assert_regex "$stderr" "$APP_DIR/.env was changed by another run meanwhile: not written"
  run -0 --separate-stderr opsbook server/generate-secrets
  run -0 cat "$APP_DIR/.env"
  assert_line COMPOSE_FILE=pinned.yml
  assert_line --regexp '^KEY=[0-9a-f]{64}$'
}

@test "a symbolic link is refused, and what it leads to is not touched" {
  secret '{"A": "new"}'
  echo OLD=kept >"$BATS_TEST_TMPDIR/elsewhere"
  ln -s "$BATS_TEST_TMPDIR/elsewhere" "$APP_DIR/.env"
  fetch
  assert_failure 1
  assert_regex "$stderr" "$APP_DIR/.env is a symbolic link: not written"
  assert_equal "$(cat "$BATS_TEST_TMPDIR/elsewhere")" OLD=kept
}

@test "the owner is kept; a new file belongs to the owner of its folder" {
  secret '{"A": "new"}'
  chown 65534:65533 "$APP_DIR"
  fetch
  assert_success
  assert_equal "$(stat -c '%u:%g %a' "$APP_DIR/.env")" '65534:65533 600'
  chown 65532:65531 "$APP_DIR/.env"
  rm -f "$APP_DIR/.env.template"
  aws_cli secretsmanager put-secret-value --secret-id "$SECRET" --secret-string '{"A": "newer"}' >/dev/null
  fetch
  assert_success
  assert_equal "$(stat -c '%u:%g %a' "$APP_DIR/.env")" '65532:65531 600'
}

@test "a file that this user may not read is not taken for one that is absent" {
  secret '{"A": "new"}'
  before_real cat <<<'[ $# -eq 0 ] || { echo "cat: $1: Permission denied" >&2; exit 1; }'
  echo OLD=kept >"$APP_DIR/.env"
  fetch
  assert_failure 1
  assert_regex "$stderr" "$APP_DIR/.env cannot be read: .*Permission denied"
  assert_old_file
}
