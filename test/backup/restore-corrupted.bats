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
