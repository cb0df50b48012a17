#!/usr/bin/env bats
# Row 17 of the baseline: what is damaged in the store is named, by restore, verify and drill alike, and nothing
# live is touched.
bats_require_minimum_version 1.5.0

load restoring

setup_file() {
  BATS_TEST_TMPDIR=$BATS_FILE_TMPDIR world
  database 500
  directory
  ID=$(opsbook backup)
  export ID BACKUP_DIRECTORIES
  TREE=$(grep -oE 'content/[0-9a-f]{2}/[0-9a-f]{64}' "$APP_DIR/.opsbook/manifests/$ID.json")
  CAT=$(sha256sum "$APP_DIR/uploads/2026/cat.svg" | cut -c 1-64)
  export TREE CAT="content/${CAT:0:2}/$CAT"
}

setup() {
  DAMAGED=()
  BEFORE=$(live)
}

teardown() {
  local key
  for key in "${DAMAGED[@]}"; do tamper "$key" mend; done
}

teardown_file() {
  drop_databases
}

# Damages an object, to be mended by teardown.
damage() {
  DAMAGED+=("$1")
  tamper "$@"
}

# Fails unless a restore of the parts names what is damaged, and leaves everything as it is.
assert_refused() {
  run -1 --separate-stderr as_reader opsbook restore "$ID" --yes --only "$1"
  assert_error "$2"
  assert_equal "$(live)" "$BEFORE"
  assert_nothing_left
}

@test "row 17: one byte of the dump is another" {
  damage "backups/$ID/$DB.dump" flip
  assert_refused databases "$DB.*$DB.dump is corrupted"
}

@test "row 17: the dump is cut in half" {
  damage "backups/$ID/$DB.dump" cut
  assert_refused databases "$DB.*$DB.dump is truncated: [0-9]+ of [0-9]+ bytes"
}

@test "row 17: 20 bytes of something else are there instead of the dump" {
  damage "backups/$ID/$DB.dump" stub
  assert_refused databases "$DB.*$DB.dump is truncated: 20 of"
}

@test "row 17: the dump is gone" {
  damage "backups/$ID/$DB.dump" remove
  assert_refused databases "$DB.dump is not there"
}

@test "row 17: one byte of the roles is another" {
  damage "backups/$ID/$DB.globals.json" flip
  assert_refused databases "$DB.*$DB.globals.json is corrupted"
}

@test "row 17: one byte of a file's content is another" {
  damage "$CAT" flip
  assert_refused uploads "uploads: 2026/cat.svg: .*$CAT is damaged"
}

@test "row 17: a file's content is gone" {
  damage "$CAT" remove
  assert_refused uploads "uploads: 2026/cat.svg: .*$CAT is missing"
}

@test "row 17: one byte of the list of files is another" {
  damage "$TREE" flip
  assert_refused uploads "uploads: its list of files: .*$TREE is damaged"
}

@test "row 17: verify and drill find what is damaged in every part" {
  damage "backups/$ID/$DB.dump" cut
  damage "$CAT" cut
  run -3 --separate-stderr as_reader opsbook verify "$ID"
  assert_error "$DB.dump is truncated.*and 1 more"
  [[ $output == *"uploads: 2026/cat.svg: "*"$CAT has "*" of "*" bytes"* ]]
  run -3 --separate-stderr as_reader opsbook drill "$ID"
  assert_error "$DB.dump is truncated"
  [[ $output == *"postgres"*"DIFFERS"*"directory"*"DIFFERS"*"cat.svg"* ]]
  assert_nothing_left
}

@test "row 17: the manifest is cut in half, and restore, verify and drill say so" {
  damage "backups/$ID/manifest.json" cut
  assert_refused databases "backup $ID: its manifest is not JSON"
  run -3 --separate-stderr as_reader opsbook verify "$ID"
  assert_error "backup $ID: its manifest is not JSON"
  run -3 --separate-stderr as_reader opsbook drill "$ID"
  assert_error "backup $ID: its manifest is not JSON"
}

@test "a manifest that lacks a field is refused by the field's name" {
  damage "backups/$ID/manifest.json" 'edit:delete it.parts[0].dump.sha256'
  assert_refused databases "backup $ID: manifest parts/0/dump/sha256"
}

@test "A3: a manifest that names another database, another backup's key or a part twice is refused" {
  local manifest=backups/$ID/manifest.json
  docker exec "$DB_CONTAINER" createdb -U postgres "${DB}_other"
  damage "$manifest" "edit:it.parts[0].database = '${DB}_other'"
  assert_refused databases "the part $DB is of the database \"${DB}_other\", not of $DB"
  tamper "$manifest" mend
  tamper "$manifest" "edit:it.parts[0].dump.key = '../other/backups/$ID/x.dump'"
  assert_refused databases "dump/key: is not below backups/$ID/ .*in the part \"$DB\""
  tamper "$manifest" mend
  tamper "$manifest" 'edit:it.parts.push(it.parts[1])'
  assert_refused uploads 'has two parts that are the directory uploads'
  assert_equal "$(sql "SELECT count(*) FROM pg_database WHERE datname LIKE '${DB}_other%'" postgres)" 1
}

@test "F1: a database that ?name= tells from another is stored, restored and taken back by that name" {
  local of="compose://db/$DB?user=postgres" id
  BACKUP_DATABASES="$of,compose://db2/$DB" run -2 --separate-stderr opsbook backup
  assert_error "the parts of .* would both be called $DB. Next: name the second: write compose://db2/$DB\?name=db2-$DB"
  # Of an app of its own: the backup of the other tests stays the latest.
  export APP=$APP-named BACKUP_DATABASES="$of&name=orders"
  id=$(opsbook backup)
  assert_equal "$(keys | grep -cE "backups/$id/orders\.(dump|globals.json)$")" 2
  sql "DELETE FROM entries"
  run -0 as_reader opsbook restore "$id" --yes --only orders
  assert_equal "$(live)" "$BEFORE"
  run -0 as_reader opsbook restore --undo --yes
  assert_equal "$(sql 'SELECT count(*) FROM entries')" 0
  run -0 as_reader opsbook restore "$id" --yes --only orders
  assert_equal "$(live)" "$BEFORE"
}

@test "rows that are not those of the manifest are a difference" {
  damage "backups/$ID/manifest.json" 'edit:it.parts[0].tables[0].rows += 1'
  assert_refused databases "table public.entries has 500 rows, was backed up with 501"
  run -3 --separate-stderr as_reader opsbook drill "$ID" --json
  assert_error "table public.entries has 500 rows"
  [[ $output == *'"differences":["table public.entries has 500 rows, was backed up with 501"]'* ]]
  assert_nothing_left
}

@test "what is whole verifies and drills, from a host without a terminal" {
  run -0 --separate-stderr as_reader opsbook verify
  [[ $output == *"postgres"*"as stored"*"uploads"*"as stored"* ]]
  run -0 --separate-stderr as_reader opsbook drill
  [[ $output == *"postgres"*"equal"*"uploads"*"equal"* ]]
  assert_nothing_left
}
