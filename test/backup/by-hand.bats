#!/usr/bin/env bats
# No lock-in: the commands of docs/backup.md, "Restoring without opsbook", run as they stand there, on a host that
# has awscli, jq, age, zstd and PostgreSQL's clients, and nothing of ours.
bats_require_minimum_version 1.5.0

load restoring

setup() {
  world
  database
  directory
  printf 'not UTF-8' >"$APP_DIR/uploads/"$'\xff\xfe'
  printf 'a newline' >"$APP_DIR/uploads/"$'two\nlines'
  FILE=$APP_DIR/data/code_monet.db
  mkdir "$APP_DIR/data"
  "$NODE" --no-warnings -e 'new (require("node:sqlite").DatabaseSync)(process.argv[1]).exec(
    "CREATE TABLE invites (code TEXT); INSERT INTO invites VALUES (1), (2), (3)")' "$FILE"
  export BACKUP_DATABASES=$BACKUP_DATABASES,sqlite://$FILE
  FOLDER=/tmp/by-hand-$APP
  on_host mkdir "$FOLDER"
}

teardown() {
  on_host rm -rf "$FOLDER"
  drop_databases
}

# The blocks of the section, each with what the test restores in the place of the example.
blocks() {
  awk '/^## / { inside = /Restoring without opsbook/ } !inside { next }
       /^```sh$/ { block = 1; next } /^```$/ { block = 0; next } block' "$REPO/docs/backup.md" |
    sed -e "s|^STORE=[^ ]*|STORE=s3://bloaty-backups-x7/$APP|" -e "s|^ID=[^ ]*|ID=$1|" \
      -e "s|^IDENTITY=[^ ]*|IDENTITY=$FOLDER/identity.age|" -e "s|^NAME=.*|NAME=$DB|"
}

# Follows the page on the host, against the app's own server.
by_hand() {
  local server
  server=$(docker inspect --format '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' "$DB_CONTAINER")
  blocks "$1" | as_reader on_host env -C "$FOLDER" PGHOST="$server" PGUSER=postgres PGPASSWORD="$(password)" \
    AWS_ENDPOINT_URL=http://aws:5000 AWS_REGION="$AWS_REGION" bash
}

password() {
  docker exec "$DB_CONTAINER" printenv POSTGRES_PASSWORD
}

# Fails unless every row and every file is there, as it was.
assert_equal_by_hand() {
  run -0 by_hand "$1"
  assert_output --partial "public.entries 2000"
  assert_equal "$(fingerprint "${DB}_by_hand")" "$(fingerprint)"
  assert_equal "$(on_host sqlite3 "$FOLDER/code_monet.db" 'SELECT group_concat(code) FROM invites')" '1,2,3'
  local there
  there=$(on_host bash -c "$(declare -f files_of); files_of $FOLDER/uploads.by-hand")
  assert_equal "$there" "$(files_of)"
}

@test "a plain backup comes back by stock tools alone" {
  find "$APP_DIR/uploads" -exec touch -h -d '2026-10-01 12:00:00.25 UTC' {} +
  local id
  id=$(opsbook backup)
  assert_equal_by_hand "$id"
}

@test "an encrypted backup comes back by stock tools alone" {
  find "$APP_DIR/uploads" -exec touch -h -d '2026-10-01 12:00:00.25 UTC' {} +
  local identity id
  identity=$(on_host age-keygen 2>/dev/null)
  on_host sh -c 'umask 077; cat >"$0"' "$FOLDER/identity.age" <<<"$identity"
  id=$(BACKUP_RECIPIENT=$(grep -o 'age1[0-9a-z]*' <<<"$identity") opsbook backup)
  assert_equal_by_hand "$id"
}
