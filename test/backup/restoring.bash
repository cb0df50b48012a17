# What the tests of restoring, verifying and pruning share, beside the world and its faults.
load faults

# Runs a command that believes to be so many days later.
later() {
  local days=$1
  shift
  CLOCK_DAYS=$days NODE_OPTIONS="--import=$REPO/test/backup/clock.ts" "$@"
}

# Changes an object of the test's app as tamper.ts says, behind everybody's back.
tamper() {
  as_admin "$NODE" "$REPO/test/backup/tamper.ts" "$APP/$1" "$2"
}

# A directory as a part beside the database: files in folders, one empty folder, odd names, a symlink.
directory() {
  export BACKUP_DIRECTORIES=uploads
  local folder=$APP_DIR/uploads
  mkdir -p "$folder/2026/of nobody"
  printf 'a cat, painted\n%.0s' {1..400} >"$folder/2026/cat.svg"
  printf 'a dog, drawn\n' >"$folder/-dog's \$HOME.txt"
  : >"$folder/empty"
  ln -s 2026/cat.svg "$folder/latest"
  chmod 640 "$folder/empty"
  find "$folder" -exec touch -h -d '2026-10-01 12:00:00.25 UTC' {} +
}

# A sum over names, types, modes, times (of which microseconds are kept) and contents below a directory.
files_of() {
  (cd "${1:-$APP_DIR/uploads}" && find . -printf '%P %y %m %T@ %l\n' -type f -exec md5sum {} + |
    sed -E 's/( [0-9]{10}\.[0-9]{3})[0-9]*/\1/' | sort | md5sum)
}

# Everything that is live.
live() {
  fingerprint
  [ -z "${BACKUP_DIRECTORIES:-}" ] || files_of
}

# Fails unless all that restores and drills bring somewhere is gone.
assert_nothing_left() {
  assert_equal "$(sql "SELECT datname FROM pg_database WHERE datname ~ '^${DB}_(restore|drill)_'" postgres)" ''
  assert_equal "$(docker exec "$DB_CONTAINER" find /tmp -name "opsbook-*=$DB.dump")" ''
  assert_equal "$(find "$APP_DIR" -name '*.restor*-2*' -o -path '*/.opsbook/drill-2*' -prune)" ''
}

# Makes whatever restores the test's database stop there while `hold` says so: an index of its calls this.
holdable() {
  sql "CREATE FUNCTION held(i int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS \$\$
       BEGIN
         WHILE current_database() <> '$DB' AND
           (pg_stat_file('/tmp/hold-$DB-' || lower(substring(current_query() from '^\w+')), true)).size IS NOT NULL
         LOOP PERFORM pg_sleep(0.02); END LOOP;
         RETURN i;
       END \$\$;
       CREATE INDEX ON entries (held(id))"
}

# Holds restores of the test's database at CREATE (of the index, by pg_restore) or ANALYZE.
hold() { docker exec "$DB_CONTAINER" touch "/tmp/hold-$DB-$1"; }
release() { docker exec "$DB_CONTAINER" sh -c 'rm -f "$0"*' "/tmp/hold-$DB-"; }

# Whether a restore is held now.
is_held() {
  [ "$(sql "SELECT count(*) FROM pg_stat_activity
            WHERE datname ~ '^${DB}_' AND wait_event = 'PgSleep' AND query ~* '^$1'" postgres)" != 0 ]
}

# A store that gives only the first bytes of some objects, as s3-stall.ts says; sets AWS_ENDPOINT_URL. Ended by
# `end_all`, or by `mend`.
stall() {
  coproc FAULT { exec "$NODE" "$REPO/test/backup/s3-stall.ts" "$@" 3>&-; }
  read -r AWS_ENDPOINT_URL <&"${FAULT[0]}"
  export AWS_ENDPOINT_URL
}
