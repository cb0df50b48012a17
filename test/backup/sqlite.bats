#!/usr/bin/env bats
# SQLite: a snapshot of what is being written, and back into what is open.
bats_require_minimum_version 1.5.0

load restoring

setup() {
  world
  export FILE=$APP_DIR/data/code_monet.db
  export BACKUP_DATABASES=sqlite://$FILE BACKUP_STORE=file://$BATS_TEST_TMPDIR/store
  mkdir "$BATS_TEST_TMPDIR/store" "$APP_DIR/data"
  query "PRAGMA journal_mode = WAL"
  query "CREATE TABLE invites (id INTEGER PRIMARY KEY, code TEXT); CREATE TABLE uses (id INTEGER PRIMARY KEY, code TEXT)"
  query "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 1000) INSERT INTO invites SELECT i, hex(randomblob(50)) FROM n"
  query "INSERT INTO uses SELECT * FROM invites"
}

teardown() {
  [ -z "${CLIENT_PID:-}" ] || kill "$CLIENT_PID"
  end_all
}

# Runs SQL in a database file, with a connection of its own; rows come a line each.
query() {
  "$NODE" --no-warnings -e '
    const { DatabaseSync } = require("node:sqlite");
    const database = new DatabaseSync(process.argv[1], { timeout: 10000 });
    if (/^(SELECT|PRAGMA)/.test(process.argv[2]))
      for (const row of database.prepare(process.argv[2]).all()) console.log(Object.values(row).join("|"));
    else database.exec(process.argv[2]);' "${2:-$FILE}" "$1"
}

# A client that keeps the database open: asked by a line, it says how many rows it sees. With "writes" it adds one
# to each table in one transaction, for ever.
client() {
  coproc CLIENT { exec "$NODE" --no-warnings -e '
    const { DatabaseSync } = require("node:sqlite");
    const database = new DatabaseSync(process.env.FILE, { timeout: 10000 });
    const count = database.prepare("SELECT count(*) AS n FROM invites");
    count.get();
    if (process.argv[1] === "writes") setInterval(() => database.exec(
      "BEGIN IMMEDIATE; INSERT INTO invites (code) VALUES (1); INSERT INTO uses (code) VALUES (1); COMMIT"), 1);
    console.log("open");
    process.stdin.on("data", () => console.log(count.get().n));' "$1" 3>&-; }
  local line
  read -r line <&"${CLIENT[0]}"
}

# How many rows the client sees now.
ask_client() {
  local rows
  echo >&"${CLIENT[1]}"
  read -r -t 20 rows <&"${CLIENT[0]}"
  echo "$rows"
}

sum() { query "SELECT count(*), sum(length(code)), max(code) FROM invites" "$@"; }

@test "a backup while a writer writes is of one moment" {
  client writes
  run -0 opsbook backup
  run -0 opsbook restore --to "$APP_DIR/data/copy.db"
  assert_equal "$(query "SELECT (SELECT count(*) FROM invites) = (SELECT count(*) FROM uses)" "$APP_DIR/data/copy.db")" 1
  assert_equal "$(query "PRAGMA integrity_check" "$APP_DIR/data/copy.db")" ok
  # The writer was not held up.
  [ "$(ask_client)" -gt 1000 ]
}

@test "restored into a live database, clients that have it open see what came back, and --undo takes it back" {
  run -0 opsbook backup
  local before
  before=$(sum)
  query "DELETE FROM invites WHERE id > 10"
  client reads
  assert_equal "$(ask_client)" 10
  run -0 opsbook restore --yes
  assert_equal "$(sum)" "$before"
  assert_equal "$(ask_client)" 1000
  run -0 opsbook restore --undo --yes
  assert_equal "$(ask_client)" 10
  assert_equal "$(query "PRAGMA integrity_check")" ok
  assert_equal "$(query "SELECT count(*) FROM invites" "$APP_DIR"/data/*_undone_*)" 1000
  run -2 opsbook restore --undo --yes
}

@test "restored under a writer, no transaction is half there" {
  run -0 opsbook backup
  client writes
  run -0 opsbook restore --yes
  [ "$(ask_client)" -ge 1000 ]
  assert_equal "$(query "SELECT (SELECT count(*) FROM invites) - (SELECT count(*) FROM uses)")" 0
  assert_equal "$(query "PRAGMA integrity_check")" ok
}

@test "a damaged live file fails the backup, and is replaced and kept by a restore" {
  run -0 opsbook backup
  local before
  before=$(sum)
  query "PRAGMA wal_checkpoint(TRUNCATE)"
  dd if=/dev/urandom of="$FILE" bs=4096 seek=3 count=20 conv=notrunc status=none
  run -1 --separate-stderr opsbook backup
  assert_error "code_monet.db.*(damaged|malformed)"
  run -0 opsbook restore --yes
  assert_equal "$(sum)" "$before"
  ls "$APP_DIR"/data/code_monet.db_before_*
}

@test "a file that is no database, or is gone, is replaced by a restore" {
  run -0 opsbook backup
  local before
  before=$(sum)
  rm "$FILE"*
  echo 'not a database' >"$FILE"
  run -1 opsbook backup
  run -0 opsbook restore --yes
  assert_equal "$(sum)" "$before"
  rm "$FILE"*
  run -1 --separate-stderr opsbook backup
  assert_error "code_monet.db"
  run -0 opsbook restore --yes
  assert_equal "$(sum)" "$before"
}

@test "it drills and verifies; what is damaged in the store is named, and nothing live is touched" {
  local id
  id=$(opsbook backup)
  run -0 opsbook verify
  run -0 --separate-stderr opsbook drill --json
  assert_output --partial '"differences":[]'
  local before dump=$BATS_TEST_TMPDIR/store/$APP/backups/$id/code_monet.db.zst
  before=$(sum)
  printf '\xff' | dd of="$dump" bs=1 seek=30000 conv=notrunc status=none
  run -1 --separate-stderr opsbook restore --yes
  assert_error "part code_monet: .*code_monet.db.zst is corrupted"
  run -3 --separate-stderr opsbook drill
  assert_error "code_monet.db.zst is corrupted"
  run -3 --separate-stderr opsbook verify
  truncate -s 100 "$dump"
  run -3 --separate-stderr opsbook drill
  assert_error "code_monet.db.zst is truncated: 100 of"
  assert_equal "$(sum)" "$before"
  assert_equal "$(find "$APP_DIR" -name '*.restore-*' -o -name 'drill-*.db')" ''
}

@test "what a killed restore left beside the database is cleared by that of another backup" {
  touch "$FILE.restore-20260101-030000" "$FILE.restore-notes"
  run -0 opsbook backup
  run -0 opsbook restore --yes
  run ! ls "$FILE.restore-20260101-030000"
  ls "$FILE.restore-notes"
}

# Owner, group and mode of a file.
owner() { stat --format '%u:%g %a' "$1"; }

# Changes the manifest of a backup in the store.
edit_manifest() {
  "$NODE" -e 'const fs = require("node:fs"), [, file, code] = process.argv, it = JSON.parse(fs.readFileSync(file));
    new Function("it", code)(it); fs.writeFileSync(file, JSON.stringify(it))' "$BATS_TEST_TMPDIR/store/$APP/backups/$1/manifest.json" "$2"
}

@test "A13: restored by root to a new server, it has the owner and the mode that it had; of an older backup, the directory's owner" {
  [ "$EUID" = 0 ] || skip "only root can give files away"
  chmod 755 "$BATS_TEST_TMPDIR" "$APP_DIR"
  chown -R 1234:1235 "$APP_DIR/data"
  chmod 640 "$FILE"
  local id before
  id=$(opsbook backup)
  before=$(sum)
  # What SQLite keeps beside a database that is gone would be taken for changes to the one that comes back.
  rm "$FILE"
  echo 'of another database' >"$FILE-wal"
  run -0 --separate-stderr opsbook restore --yes
  [[ $stderr != *'may not write'* ]]
  assert_equal "$(owner "$FILE")" '1234:1235 640'
  assert_equal "$(sum)" "$before"
  assert_equal "$(cat "$FILE"_before_"$id"-wal)" 'of another database'
  assert_equal "$(cd "$APP_DIR" && find . -name '*.restore-*' -o -name 'snapshot-*')" ''

  # Manifests had no owner.
  rm "$FILE"*
  edit_manifest "$id" 'delete it.parts[0].owner'
  chown 4321:4322 "$APP_DIR/data"
  run -0 opsbook restore --yes
  assert_equal "$(owner "$FILE")" '4321:4322 600'

  # Who owns the file and may not write beside it cannot use it.
  rm "$FILE"*
  edit_manifest "$id" 'it.parts[0].owner = { uid: 1234, gid: 1235, mode: 0o600 }'
  chown 0:0 "$APP_DIR/data"
  run -0 --separate-stderr opsbook restore --yes
  [[ $stderr == *"warning: code_monet: its owner, user 1234, may not write to $APP_DIR/data"* ]]
}

@test "F1: two files of one name are refused before anything is stored, and are parts of their own by ?name=" {
  mkdir "$APP_DIR/s2"
  query "CREATE TABLE other (id)" "$APP_DIR/s2/code_monet.db"
  export BACKUP_DATABASES=sqlite://$FILE,sqlite://$APP_DIR/s2/code_monet.db
  run -2 --separate-stderr opsbook backup
  assert_error 'would both be called code_monet. Next: name the second: write .*/s2/code_monet.db\?name=s2-code_monet'
  assert_equal "$(ls "$BATS_TEST_TMPDIR/store")" ''
  export BACKUP_DATABASES="$BACKUP_DATABASES?name=s2-code_monet"
  run -0 opsbook backup
  rm "$FILE"* "$APP_DIR"/s2/*
  run -0 opsbook restore --yes
  assert_equal "$(query "SELECT count(*) FROM invites")" 1000
  assert_equal "$(query "SELECT count(*) FROM other" "$APP_DIR/s2/code_monet.db")" 0
}
