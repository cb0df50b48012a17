#!/usr/bin/env bats
# Rows 18 to 21 of the baseline, and what else may be odd when a backup comes back: it is equal, or nothing changed.
bats_require_minimum_version 1.5.0

load restoring

setup() {
  WRITERS=()
  world
  database 500
}

teardown() {
  end_writers
  end_all
  [ -z "${ROLES:-}" ] || drop_roles
  [ -z "${MOUNTED:-}" ] || umount "$MOUNTED"
  drop_databases
}

# What pg_dump says of a database but its rows.
schema() {
  docker exec "$DB_CONTAINER" pg_dump -U postgres --schema-only "${1:-$DB}" | grep -v restrict | md5sum
}

# Five clients, each of which writes until its connection ends, and comes back after its pause. What they are told
# goes to $TOLD.
start_writers() {
  TOLD=$BATS_TEST_TMPDIR/told
  local pause
  for pause in 0.03 0.3 0.6 0.9 1.5; do
    docker exec -i "$DB_CONTAINER" sh -c 'until [ -e "/tmp/stop-$0" ]; do
        echo "INSERT INTO entries (user_id, body) VALUES (1, '"'writer'"') \watch 0.02" |
          psql -U postgres -d "$0" -qAtX -v ON_ERROR_STOP=1
        sleep "$1"
      done' "$DB" "$pause" >/dev/null 2>>"$TOLD" 3>&- &
    WRITERS+=($!)
  done
}

has_written() {
  [ "$(sql "SELECT count(DISTINCT pid) FROM pg_stat_activity WHERE datname = '$DB' AND query ~ 'writer'" postgres)" -ge "$1" ]
}

end_writers() {
  ((${#WRITERS[@]})) || return 0
  docker exec "$DB_CONTAINER" touch "/tmp/stop-$DB"
  sql "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE query ~ 'writer' AND datname ~ '^$DB'" postgres
  wait "${WRITERS[@]}" || true
  WRITERS=()
  docker exec "$DB_CONTAINER" rm "/tmp/stop-$DB"
}

drop_roles() {
  drop_databases
  for role in "${ROLES[@]}"; do sql "DROP ROLE IF EXISTS $role" postgres; done
}

@test "row 18: restored over existing data, it is the backup and nothing else" {
  sql "CREATE TABLE nokey (v text); INSERT INTO nokey SELECT g::text FROM generate_series(1, 50) g"
  opsbook backup
  local before
  before=$(fingerprint)
  sql "DELETE FROM entries WHERE id > 100; UPDATE users SET email = 'changed' WHERE id = 1;
       INSERT INTO nokey VALUES ('later'); SELECT setval('entries_id_seq', 7); CREATE TABLE later (id int)"
  run -0 as_reader opsbook restore --yes
  assert_equal "$(fingerprint)" "$before"
  assert_equal "$(sql "SELECT count(*), count(DISTINCT v) FROM nokey")" '50|50'
  assert_equal "$(sql "SELECT nextval('entries_id_seq'), to_regclass('later') IS NULL")" '501|t'
}

@test "row 19: restored under five clients that come back, none of them sees half a database" {
  local id before
  id=$(opsbook backup)
  before=$(fingerprint)
  start_writers
  wait_for has_written 5
  run -0 as_reader opsbook restore "$id" --yes
  wait_for has_written 5
  end_writers
  assert_equal "$(sql "SELECT count(*) - count(DISTINCT id) FROM entries")" 0
  assert_equal "$(sql "SELECT count(*) FROM pg_constraint WHERE contype IN ('p', 'f') AND connamespace = 'public'::regnamespace")" 3
  assert_equal "$(sql "SELECT count(*) > 0 FROM entries WHERE body = 'writer'")" t
  sql "DELETE FROM entries WHERE body = 'writer'"
  assert_equal "$(fingerprint)" "$before"
  # Their connections are ended. One that knocks during the renaming itself is told so, and to come back: that
  # nothing was told of a database that was not there before or after it shows in each refusal having this reason.
  assert_equal "$(grep -c 'does not exist' "$TOLD")" "$(grep -c 'It seems to have just been dropped or renamed' "$TOLD")"
  run ! grep -vE 'terminating connection|connection to server was lost|server closed|This probably means|before or while|does not exist|just been dropped or renamed' "$TOLD"
  run ! grep -E '(relation|column) .* does not exist' "$TOLD"
}

@test "row 20: an unknown id is refused, and those near it are suggested" {
  local id
  id=$(opsbook backup)
  run -2 --separate-stderr as_reader opsbook restore 20260101-030000 --yes
  assert_error "no backup 20260101-030000 in .*; near it: $id"
  run -2 --separate-stderr as_reader opsbook restore "db-backup-$id.sql.gz" --yes
  assert_error "no backup db-backup-$id.sql.gz in .*; near it: $id"
}

@test "row 20: without a terminal nobody is asked, and nothing is done" {
  opsbook backup
  sql "DELETE FROM entries"
  run -2 --separate-stderr as_reader opsbook restore </dev/null
  assert_error "Cannot ask for confirmation: no terminal. Next: pass --yes"
  assert_equal "$(sql "SELECT count(*) FROM entries")" 0
}

@test "row 20: a part that the backup lacks is refused before anything is touched" {
  directory
  local id
  id=$(opsbook backup --only databases)
  run -2 --separate-stderr as_reader opsbook restore "$id" --only uploads --yes
  assert_error "--only uploads: no such part in backup $id"
  # A partial one is not what "latest" means.
  run -1 --separate-stderr as_reader opsbook restore --yes
  assert_error "no .*backup in"
}

@test "row 21: another app's backup is refused, and both are named" {
  local id
  id=$(opsbook backup)
  aws_cli s3 cp --quiet --recursive "s3://bloaty-backups-x7/$APP/" "s3://bloaty-backups-x7/other-$APP/"
  sql "DELETE FROM entries"
  export APP=other-$APP
  run -2 --separate-stderr as_reader opsbook restore "$id" --yes
  assert_error "backup $id is of the app ${APP#other-}, not of $APP"
  run -2 --separate-stderr as_reader opsbook drill
  assert_error "is of the app ${APP#other-}, not of $APP"
  assert_equal "$(sql "SELECT count(*) FROM entries")" 0
}

@test "a manifest of a newer version says to update, and a backup without one does not exist" {
  local id
  id=$(opsbook backup)
  tamper "backups/$id/manifest.json" 'edit:it.version = 2; it.parts = "of another kind"'
  run -1 --separate-stderr as_reader opsbook restore --yes
  assert_error "manifest version 2, this opsbook reads 1. Next: update opsbook"
  tamper "backups/$id/manifest.json" remove
  run -1 --separate-stderr as_reader opsbook restore --yes
  assert_error "no backup in .* that is complete"
  run -1 --separate-stderr as_reader opsbook restore "$id" --yes
  assert_error "backup $id has no manifest: it was never finished"
}

@test "a server's disk without room is told before anything is brought" {
  local id before
  id=$(opsbook backup)
  before=$(fingerprint)
  tamper "backups/$id/manifest.json" 'edit:it.parts[0].bytesIn = 1e15'
  run -1 --separate-stderr as_reader opsbook restore --yes
  assert_error "restoring $DB needs 1.0 PB, /var/lib/postgresql/data of .* has .* free"
  assert_equal "$(fingerprint)" "$before"
  assert_nothing_left
}

@test "a disk without room for the files is told before anything is brought" {
  export MOUNTED=$BATS_TEST_TMPDIR/small
  mkdir "$MOUNTED"
  mount -t tmpfs -o size=80m tmpfs "$MOUNTED" || { unset MOUNTED; skip 'nothing can be mounted here'; }
  export APP_DIR=$MOUNTED/app BACKUP_DIRECTORIES=uploads
  mkdir -p "$APP_DIR/uploads"
  head -c 20000000 /dev/zero >"$APP_DIR/uploads/large"
  opsbook backup
  local before
  before=$(live)
  run -1 --separate-stderr as_reader opsbook restore --yes
  assert_error "uploads .* needs 20.0 MB, $APP_DIR/uploads has .* MB free"
  assert_equal "$(live)" "$before"
  run -1 --separate-stderr as_reader opsbook drill
  assert_error "uploads .* needs 20.0 MB"
  assert_nothing_left
}

@test "roles that the server lacks are made, with what they own and may, and told" {
  ROLES=("\"$DB own'er\"" "${DB}_reads" "${DB}_gone")
  sql "CREATE ROLE \"$DB own'er\" LOGIN PASSWORD 'x' CONNECTION LIMIT 7; CREATE ROLE ${DB}_reads NOLOGIN;
       CREATE ROLE ${DB}_gone; GRANT ${DB}_reads TO \"$DB own'er\"; ALTER DATABASE $DB OWNER TO \"$DB own'er\";
       ALTER TABLE entries OWNER TO \"$DB own'er\"; GRANT SELECT ON entries TO ${DB}_reads"
  opsbook backup
  local before
  before=$(schema)
  drop_roles
  run -0 --separate-stderr as_reader opsbook restore --yes
  [[ $stderr == *"warning: created the roles $DB own'er, ${DB}_reads: they have no password yet"* ]]
  assert_equal "$(schema)" "$before"
  assert_equal "$(sql "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = '$DB'")" "$DB own'er"
  assert_equal "$(sql "SELECT rolconnlimit, pg_has_role(oid, '${DB}_reads', 'member') FROM pg_roles WHERE rolname = '$DB own''er'")" '7|t'
  # Whoever has nothing to do with the database may have been dropped for good.
  assert_equal "$(sql "SELECT 1 FROM pg_roles WHERE rolname = '${DB}_gone'")" ''
}

@test "settings, extensions, views, large objects, identity columns and odd names come back" {
  sql "ALTER DATABASE $DB SET search_path = ''; ALTER DATABASE $DB SET work_mem = '7MB'"
  sql "ALTER DATABASE $DB SET app.motto = 'it''s \"quoted\"; DROP TABLE x'"
  sql "SET search_path = public; CREATE EXTENSION pgcrypto;
       CREATE TYPE mood AS ENUM ('sad', 'ok');
       CREATE TABLE \"Odd \"\"Name\"\" ö\" (id int GENERATED ALWAYS AS IDENTITY (START 40 INCREMENT 5), m mood, t text COLLATE \"C\",
         twice int GENERATED ALWAYS AS (2 * 21) STORED);
       INSERT INTO \"Odd \"\"Name\"\" ö\" (m, t) VALUES ('ok', NULL), ('sad', E'tab\\t, newline\\n');
       CREATE VIEW many AS SELECT user_id, count(*) FROM entries GROUP BY 1;
       CREATE MATERIALIZED VIEW kept AS SELECT * FROM many;
       CREATE TABLE byday (d date) PARTITION BY RANGE (d);
       CREATE TABLE byday_2026 PARTITION OF byday FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
       INSERT INTO byday VALUES ('2026-11-21'); COMMENT ON TABLE byday IS 'a comment';
       ALTER TABLE users ENABLE ROW LEVEL SECURITY; CREATE POLICY own ON users USING (email = current_user);
       CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
       CREATE TRIGGER t BEFORE INSERT ON users EXECUTE FUNCTION f();
       SELECT lo_from_bytea(4711, 'a large object')"
  opsbook backup
  local before
  before=$(schema)
  sql "DROP DATABASE $DB WITH (FORCE)" postgres
  run -0 --separate-stderr as_reader opsbook restore --yes
  [[ $stderr == *"swap postgres $DB in: there was none before"* ]]
  assert_equal "$(schema)" "$before"
  assert_equal "$(sql "SHOW search_path; SHOW work_mem; SHOW app.motto")" $'""\n7MB\nit\'s "quoted"; DROP TABLE x'
  assert_equal "$(sql "SELECT convert_from(lo_get(4711), 'utf8')")" 'a large object'
  assert_equal "$(sql "INSERT INTO public.\"Odd \"\"Name\"\" ö\" (m) VALUES ('ok') RETURNING id, twice")" '50|42'
  assert_equal "$(sql "SELECT count(*) FROM public.kept; SELECT count(*) FROM public.byday")" $'100\n1'
}

@test "who may connect, and what a role is set to, come back with the database" {
  ROLES=("${DB}_reads")
  sql "CREATE ROLE ${DB}_reads LOGIN; REVOKE ALL ON DATABASE $DB FROM PUBLIC;
       GRANT CONNECT ON DATABASE $DB TO ${DB}_reads; ALTER DATABASE $DB CONNECTION LIMIT 17;
       ALTER ROLE ${DB}_reads IN DATABASE $DB SET search_path = 'here', public"
  local what="SELECT datacl, datconnlimit, setrole::regrole, setconfig FROM pg_database d
    LEFT JOIN pg_db_role_setting ON setdatabase = d.oid WHERE datname = '$DB'"
  local before
  before=$(sql "$what" postgres)
  opsbook backup
  run -0 as_reader opsbook restore --yes
  assert_equal "$(sql "$what" postgres)" "$before"
}

@test "--to brings the one part under another name, and refuses one that is there" {
  opsbook backup
  local before
  before=$(fingerprint)
  sql "DELETE FROM entries"
  run -0 as_reader opsbook restore --to "${DB}_copy"
  assert_equal "$(fingerprint "${DB}_copy")" "$before"
  assert_equal "$(sql "SELECT count(*) FROM entries")" 0
  run -2 --separate-stderr as_reader opsbook restore --to "${DB}_copy"
  assert_error "the database ${DB}_copy exists already"
  run -1 --separate-stderr as_reader opsbook restore --to "${DB}_$(printf 'x%.0s' {1..60})"
  assert_error "is longer than the 63 bytes of a PostgreSQL name"
  assert_equal "$(fingerprint "${DB}_copy")" "$before"
}

@test "--undo takes a restore back once, and of a database that was not there leaves what came" {
  directory
  opsbook backup
  sql "DELETE FROM entries"
  rm -r "$APP_DIR/uploads/2026"
  local after
  after=$(live)
  run -0 as_reader opsbook restore --yes
  [ "$(live)" != "$after" ]
  run -0 opsbook restore --undo --yes
  assert_equal "$(live)" "$after"
  run -2 --separate-stderr opsbook restore --undo --yes
  assert_error "was undone already"
  sql "DROP DATABASE $DB" postgres
  run -0 as_reader opsbook restore --only databases --yes
  run -0 --separate-stderr opsbook restore --undo --yes
  [[ $stderr == *"there was none before: what was restored stays"* ]]
  assert_equal "$(sql "SELECT count(*) FROM entries")" 500
}

@test "a name with no room for what a restore adds to it is told beforehand, and can be brought by --to" {
  local short=$DB
  export DB=${DB}_$(printf 'x%.0s' {1..45})
  DB=${DB:0:45} BACKUP_DATABASES="compose://db/${DB:0:45}?user=postgres"
  sql "CREATE DATABASE $DB TEMPLATE $short" postgres
  opsbook backup
  run -1 --separate-stderr as_reader opsbook restore --yes
  assert_error "is longer than the 63 bytes of a PostgreSQL name. Next: restore beside it: --only PART --to SHORTNAME"
  run -0 as_reader opsbook restore --only "$DB" --to "${short}_copy"
  assert_equal "$(fingerprint "${short}_copy")" "$(fingerprint)"
  DB=$short
}

@test "a server that ends pg_restore's connection leaves the live database as it was" {
  holdable
  opsbook backup
  local before
  before=$(fingerprint)
  hold create
  as_reader start restore --yes
  wait_for is_held create
  sql "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname ~ '^${DB}_restore_'" postgres
  finish
  release
  assert_equal "$status" 1
  assert_error 'could not execute query: FATAL:  terminating connection due to administrator command'
  assert_equal "$(fingerprint)" "$before"
  assert_nothing_left
}

# What roles and databases are set to, and who has power over the server.
set_to() {
  sql "SELECT setrole::regrole, datname, setconfig FROM pg_db_role_setting LEFT JOIN pg_database d ON d.oid = setdatabase
       WHERE datname = '$DB' OR setdatabase = 0 AND setrole::regrole::text ~ '$DB' ORDER BY 1, 2;
       SELECT rolname FROM pg_roles WHERE rolsuper ORDER BY 1" postgres
}

# Says SQL in the test's database as its role, as somebody can who got into the app.
as_app() {
  docker exec -i "$DB_CONTAINER" psql -U postgres -d "$DB" -qAtX -v ON_ERROR_STOP=1 -c "SET ROLE ${DB}_app" -f - >/dev/null
}

# Fails if anything of what the test sets was run, in the server or by its psql.
assert_inert() {
  assert_equal "$(sql "SELECT count(*) FROM pg_database WHERE datname = '${DB}_shop'" postgres)" 1
  run ! docker exec "$DB_CONTAINER" test -e "/tmp/pwned-$DB"
  [ ! -e "/tmp/pwned-$DB" ]
}

@test "A1: what a role sets for itself comes back as it was, and nothing of it is run" {
  ROLES=("${DB}_app")
  sql "CREATE ROLE ${DB}_app" postgres
  sql "CREATE DATABASE ${DB}_shop" postgres
  as_app <<SQL
    SELECT set_config('search_path', 'a;DROP/**/DATABASE/**/${DB}_shop', false);
    ALTER ROLE CURRENT_USER IN DATABASE $DB SET search_path FROM CURRENT;
SQL
  sql "ALTER ROLE ${DB}_app IN DATABASE $DB SET app.motto = E'\\\\''; DROP DATABASE ${DB}_shop;\\n\\\\! touch /tmp/pwned-$DB\\n:x \$\$'"
  local before
  before=$(set_to)
  opsbook backup
  run -0 as_reader opsbook drill
  run -0 as_reader opsbook restore --yes
  assert_equal "$(set_to)" "$before"
  assert_inert
}

@test "A2: on a server without the role it is made without power, and what it was set to, line breaks and all" {
  ROLES=("${DB}_app" "${DB}_group")
  sql "CREATE ROLE ${DB}_group CREATEDB; CREATE ROLE ${DB}_app LOGIN REPLICATION BYPASSRLS VALID UNTIL '2031-01-01 UTC';
       GRANT ${DB}_group TO ${DB}_app WITH ADMIN OPTION; GRANT pg_write_server_files TO ${DB}_group;
       COMMENT ON ROLE ${DB}_app IS E'of two\nlines'" postgres
  sql "ALTER TABLE entries OWNER TO ${DB}_app"
  sql "ALTER ROLE ${DB}_app SET app.motto = E'x\\nALTER ROLE ${DB}_app SUPERUSER;\\n\\\\! touch /tmp/pwned-$DB\\n'" postgres
  local before
  before=$(set_to)
  opsbook backup
  drop_roles
  sql "CREATE DATABASE ${DB}_shop" postgres
  run -0 --separate-stderr as_reader opsbook restore --yes
  assert_equal "$(set_to)" "$before"
  assert_equal "$(sql "SELECT rolcreatedb, pg_has_role('${DB}_app', oid, 'member') FROM pg_roles WHERE rolname = '${DB}_group';
    SELECT rolcanlogin, rolreplication, rolbypassrls, extract(year FROM rolvaliduntil AT TIME ZONE 'UTC') FROM pg_roles WHERE rolname = '${DB}_app';
    SELECT shobj_description('${DB}_app'::regrole, 'pg_authid');
    SELECT pg_has_role('${DB}_app', 'pg_write_server_files', 'member')" postgres)" \
    $'t|t\nt|f|f|2031\nof two\nlines\nf'
  [[ $stderr == *"left out what gives power over the server"*"ALTER ROLE \"${DB}_app\" REPLICATION;"*"GRANT \"pg_write_server_files\" TO \"${DB}_group\""* ]]
  assert_inert
}

# Makes of a backup what one was before settings and roles were JSON: globals of the text $2, and $3 in the manifest.
as_before() {
  local key="backups/$1/$DB.globals.json"
  tamper "$key" "text:$2"
  tamper "backups/$1/manifest.json" "edit:const p = it.parts[0]; p.roleSettings = []; p.tables.forEach((t) => { t.exact = true; });
    Object.assign(p.globals, { bytes: $(printf %s "$2" | wc -c), sha256: '$(printf %s "$2" | sha256sum | cut -d ' ' -f 1)' }); $3"
}

@test "A2: an older backup comes back, and a forged one runs nothing: what is wrong is named" {
  ROLES=("${DB}_app")
  sql "CREATE ROLE ${DB}_app LOGIN"
  sql "ALTER TABLE entries OWNER TO ${DB}_app"
  local id before forged
  id=$(opsbook backup)
  before=$(schema)
  forged="x;\\n\\\\! touch /tmp/pwned-$DB"
  tamper "backups/$id/manifest.json" "edit:it.parts[0].settings = ['$forged=1']"
  run -1 --separate-stderr as_reader opsbook restore "$id" --yes
  assert_error "settings/0/name: .*touch /tmp/pwned-$DB\" is not the name of a parameter"
  as_before "$id" "$(docker exec "$DB_CONTAINER" pg_dumpall -U postgres --globals-only --no-role-passwords)" \
    "p.settings = ['work_mem=7MB', 'search_path=\"\", public', 'work_mem=s3cret', 'temp_tablespaces=nowhere']"
  drop_roles
  run -0 --separate-stderr as_reader opsbook restore "$id" --yes
  # What the server refuses is named, and what it was is not: a setting may be a secret.
  [[ $stderr == *'SET work_mem: ERROR:  invalid value for parameter "work_mem"'* && $stderr != *s3cret* ]]
  [[ $stderr == *'SET temp_tablespaces: ERROR:  tablespace "nowhere" does not exist'* ]]
  assert_equal "$(schema)" "$before"
  assert_equal "$(sql "SHOW work_mem; SHOW search_path")" $'7MB\n"", public'
  drop_roles
  sql "CREATE DATABASE ${DB}_shop" postgres
  as_before "$id" "CREATE ROLE ${DB}_app;"$'\n\\'"! touch /tmp/pwned-$DB" "p.settings = []"
  run -1 --separate-stderr as_reader opsbook restore "$id" --yes
  assert_error "the backup's roles are not as pg_dumpall writes them: .*touch /tmp/pwned-$DB"
  as_before "$id" "" "p.settings = [];
    p.access = [{ to: null, privilege: 'CONNECT ON DATABASE postgres TO PUBLIC; $forged', grantable: false }]"
  run -1 --separate-stderr as_reader opsbook restore "$id" --yes
  assert_error "CONNECT ON DATABASE postgres .*touch /tmp/pwned-$DB\" is not a privilege on a database"
  run -3 as_reader opsbook drill
  assert_inert
}

@test "A18: what a database is set to ends none of our statements, nor hides what they look at" {
  sql "CREATE SCHEMA trap; CREATE FUNCTION trap.pg_get_userbyid(oid) RETURNS name LANGUAGE sql AS \$\$ SELECT 'nobody'::name \$\$;
       CREATE FUNCTION slow(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN PERFORM pg_catalog.pg_sleep(0.3); RETURN \$1; END';
       CREATE TABLE one (id int); INSERT INTO one VALUES (1); CREATE INDEX ON one (slow(id))"
  for setting in "search_path = trap, pg_catalog" "statement_timeout = 250" "default_transaction_read_only = on" \
    "idle_in_transaction_session_timeout = 200"; do
    sql "SET default_transaction_read_only = off; ALTER DATABASE $DB SET $setting" postgres
  done
  local before
  before=$(set_to)
  opsbook backup
  run -0 as_reader opsbook restore --yes
  assert_equal "$(set_to)" "$before"
  assert_equal "$(sql "SELECT pg_catalog.pg_get_userbyid(datdba) FROM pg_database WHERE datname = '$DB'")" postgres
}
