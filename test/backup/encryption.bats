#!/usr/bin/env bats
# Backups by a host that cannot read them: encrypted to a recipient whose identity is elsewhere.
bats_require_minimum_version 1.5.0

load restoring

setup_file() {
  BATS_TEST_TMPDIR=$BATS_FILE_TMPDIR world
  export IDENTITY=$BATS_FILE_TMPDIR/identity.age
  on_host age-keygen 2>/dev/null >"$IDENTITY"
  BACKUP_RECIPIENT=$(grep -o 'age1[0-9a-z]*' "$IDENTITY")
  export BACKUP_RECIPIENT
  database 500
  sql "UPDATE entries SET body = 'a body that is known' WHERE id = 1"
  sql "ALTER DATABASE \"$DB\" SET app.jwt_secret TO 'a setting that is known'"
  directory
  ID=$(opsbook backup)
  export ID BACKUP_DIRECTORIES
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

# Runs a script as a reader who has the identity.
as_owner() {
  BACKUP_IDENTITY_FILE=$IDENTITY as_reader "$@"
}

@test "everything in the store but manifest and start is encrypted, and holds nothing that is known" {
  local folder=/tmp/$APP
  as_admin aws_on_host s3 cp --quiet --recursive "s3://bloaty-backups-x7/$APP/" "$folder/"
  run -0 on_host sh -c 'cd "$0" && find . -type f ! -name "*.json" -exec sh -c "head -c 21 \"\$0\" && echo" {} \; | sort | uniq -c' "$folder"
  assert_output --regexp '^ +[0-9]+ age-encryption.org/v1$'
  run -1 on_host grep -rlaE 'a body that is known|a setting that is known|a cat, painted|PGDMP|CREATE ROLE|bypassrls' "$folder"
  run -0 on_host sh -c 'rm -r "$0"; echo gone' "$folder"
}

@test "the host cannot decrypt what it stores: without the identity the setting is named" {
  local step
  for step in "restore --yes" drill; do
    run -2 --separate-stderr as_reader opsbook $step
    assert_error 'is encrypted. Next: set BACKUP_IDENTITY_FILE'
  done
  assert_equal "$(live)" "$BEFORE"
  assert_nothing_left
}

@test "with the identity it comes back equal, verifies and drills" {
  sql "DELETE FROM entries WHERE id > 3"
  rm -r "$APP_DIR/uploads/2026"
  run -0 as_owner opsbook restore "$ID" --yes
  assert_equal "$(live)" "$BEFORE"
  run -0 --separate-stderr as_owner opsbook verify
  refute_output --partial 'files were not read'
  run -0 --separate-stderr as_owner opsbook drill
  assert_output --regexp 'postgres .* equal'
  assert_output --regexp 'directory .* equal'
  assert_nothing_left
}

@test "another identity is told from a damaged backup" {
  on_host age-keygen 2>/dev/null >"$BATS_TEST_TMPDIR/other.age"
  export BACKUP_IDENTITY_FILE=$BATS_TEST_TMPDIR/other.age
  run -2 --separate-stderr as_reader opsbook restore --yes
  assert_error 'is encrypted to another key than BACKUP_IDENTITY_FILE holds'
  run -2 --separate-stderr as_reader opsbook verify
  assert_error 'is encrypted to another key'
  BACKUP_IDENTITY_FILE=/nowhere run -2 --separate-stderr as_reader opsbook verify
  assert_error 'BACKUP_IDENTITY_FILE=/nowhere: cannot be read \(ENOENT\)'
  assert_equal "$(live)" "$BEFORE"
}

@test "verify without the identity checks what can be checked, and says what it did not" {
  run -0 --separate-stderr as_reader opsbook verify
  assert_output --partial 'the files were not read: they are encrypted, and BACKUP_IDENTITY_FILE is not set'
  DAMAGED=("backups/$ID/$DB.dump.age")
  tamper "${DAMAGED[0]}" flip
  run -3 --separate-stderr as_reader opsbook verify
  assert_error "$DB.dump.age is corrupted"
}

@test "a byte of the encrypted dump that is another is damage, in its body and in its header" {
  DAMAGED=("backups/$ID/$DB.dump.age")
  tamper "${DAMAGED[0]}" flip
  run -1 --separate-stderr as_owner opsbook restore --yes --only databases
  assert_error "part $DB: .*$DB.dump.age is corrupted"
  tamper "${DAMAGED[0]}" mend
  tamper "${DAMAGED[0]}" head
  run -3 --separate-stderr as_owner opsbook drill
  assert_error "part $DB: .*$DB.dump.age is corrupted"
  assert_equal "$(live)" "$BEFORE"
  assert_nothing_left
}

@test "an encrypted content that is damaged is named by its file" {
  local key
  key=$(keys | grep -m 1 "content/.*$(sha256sum "$APP_DIR/uploads/2026/cat.svg" | cut -c 1-64)")
  DAMAGED=("${key#"$APP/"}")
  tamper "${DAMAGED[0]}" flip
  run -1 --separate-stderr as_owner opsbook restore --yes --only uploads
  assert_error 'uploads: 2026/cat.svg: .* is damaged'
  assert_equal "$(live)" "$BEFORE"
}

@test "A3: a backup that is not encrypted is refused where backups are, unless it is told" {
  local plain step
  plain=$(unset BACKUP_RECIPIENT && opsbook backup)
  run -1 --separate-stderr as_owner opsbook restore "$plain" --yes
  assert_error "backup $plain is not encrypted, though BACKUP_IDENTITY_FILE is set: .* --allow-plain"
  for step in verify drill; do
    run -3 --separate-stderr as_owner opsbook $step "$plain"
    assert_error "backup $plain is not encrypted"
  done
  run -0 as_owner opsbook drill "$plain" --allow-plain
  # Nor does it become encrypted by what it says of itself.
  DAMAGED=("backups/$plain/manifest.json")
  tamper "${DAMAGED[0]}" "edit:it.recipient = '$BACKUP_RECIPIENT'"
  run -1 --separate-stderr as_owner opsbook restore "$plain" --yes
  assert_error 'manifest parts/0/dump/key: is not encrypted'
  assert_equal "$(live)" "$BEFORE"
}
