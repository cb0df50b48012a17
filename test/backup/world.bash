# What the tests of the backup area share: a database, a directory and a store of their own for each test, in a
# sandbox that is up (test/run.ts brings it up and exports what it says).
load ../helpers

# The container of the PostgreSQL server that `sql` speaks to; a file with a server of its own exports another.
: "${DB_CONTAINER:=bloaty-db-1}"

# Runs a script of the area as its cron entry would, but with the settings of the test.
opsbook() {
  local step=$1
  shift
  (cd "$BATS_TEST_TMPDIR" && exec "$NODE" "$REPO/scripts/backup/$step.ts" "$@")
}

world() {
  : "${SANDBOX_URL:?no sandbox: run the tests by npm test, or first: eval \"\$(npm run --silent sandbox)\"}"
  export APP="t$BATS_TEST_NUMBER-$RANDOM" APP_DIR="$BATS_TEST_TMPDIR/app"
  export DB="t_${BATS_TEST_NUMBER}_$RANDOM"
  export BACKUP_STORE="s3://bloaty-backups-x7/" BACKUP_DATABASES="compose://db/$DB?user=postgres"
  unset BACKUP_DIRECTORIES
  mkdir -p "$APP_DIR"
}

# A database of the test's own, with two tables that refer to each other and a sequence.
database() {
  docker exec "$DB_CONTAINER" createdb -U postgres "$DB"
  sql "CREATE TABLE users (id serial PRIMARY KEY, email text NOT NULL UNIQUE);
       CREATE TABLE entries (id serial PRIMARY KEY, user_id int REFERENCES users, body text, meta jsonb);
       INSERT INTO users (email) SELECT 'u' || g || '@example.org' FROM generate_series(1, 100) g;
       INSERT INTO entries (user_id, body, meta)
         SELECT 1 + g % 100, md5(g::text), jsonb_build_object('n', g) FROM generate_series(1, ${1:-2000}) g;"
}

# Runs SQL in the test's database; one value a line.
sql() {
  docker exec -i "$DB_CONTAINER" psql -U postgres -d "${2:-$DB}" -qAtX -v ON_ERROR_STOP=1 -c "$1"
}

# Drops every database whose name begins with the test's.
drop_databases() {
  local name
  for name in $(sql "SELECT datname FROM pg_database WHERE datname LIKE '$DB%'" postgres); do
    sql "DROP DATABASE \"$name\" WITH (FORCE)" postgres
  done
}

# A sum over all rows of the test's database: equal sums, equal rows.
fingerprint() {
  sql "SELECT md5(string_agg(t::text, ',' ORDER BY t.id)) FROM users t;
       SELECT md5(string_agg(t::text, ',' ORDER BY t.id)) FROM entries t" "${1:-$DB}"
}

# Runs a command with the credentials of those who may read, delete or do all in the store.
as_reader() { AWS_ACCESS_KEY_ID=$SANDBOX_READER_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY=$SANDBOX_READER_SECRET_ACCESS_KEY "$@"; }
as_pruner() { AWS_ACCESS_KEY_ID=$SANDBOX_PRUNER_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY=$SANDBOX_PRUNER_SECRET_ACCESS_KEY "$@"; }
as_admin() { AWS_ACCESS_KEY_ID=$SANDBOX_ADMIN_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY=$SANDBOX_ADMIN_SECRET_ACCESS_KEY "$@"; }

# The keys of the test's app in the store.
keys() { aws_cli s3api list-objects-v2 --bucket bloaty-backups-x7 --prefix "$APP/" --query 'Contents[].Key' --output text | tr '\t' '\n' | grep -v '^None$' || true; }

# The AWS CLI of the host, with the caller's credentials.
aws_on_host() {
  on_host aws --endpoint-url http://aws:5000 --region "$AWS_REGION" "$@"
}

# Runs a command on the host as an operator would: awscli, age, jq, zstd and PostgreSQL's clients are there.
on_host() {
  docker ${SANDBOX_DOCKER_HOST:+--host "$SANDBOX_DOCKER_HOST"} exec -i \
    -e AWS_ACCESS_KEY_ID="$AWS_ACCESS_KEY_ID" -e AWS_SECRET_ACCESS_KEY="$AWS_SECRET_ACCESS_KEY" \
    "$SANDBOX_HOST_CONTAINER" "$@"
}

# A store that misbehaves as s3-fault.ts says; sets AWS_ENDPOINT_URL. Ended by teardown through `end_fault`.
fault() {
  coproc FAULT { exec "$NODE" "$REPO/test/backup/s3-fault.ts" "$@" 3>&-; }
  read -r AWS_ENDPOINT_URL <&"${FAULT[0]}"
  export AWS_ENDPOINT_URL
}

end_fault() {
  [ -z "${FAULT_PID:-}" ] || kill "$FAULT_PID"
}
