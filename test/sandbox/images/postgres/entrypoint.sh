#!/bin/sh
# First start: initdb, the superuser's password, the database, the init scripts; then the server in the foreground.
set -eu
if [ "$(id -u)" = 0 ]; then
  install -d -o postgres -g postgres -m 0700 "$PGDATA"
  chown postgres:postgres "$PGDATA"
  exec setpriv --reuid=postgres --regid=postgres --init-groups "$0" "$@"
fi
if [ "${1:-postgres}" = postgres ] && [ ! -s "$PGDATA/PG_VERSION" ]; then
  : "${POSTGRES_PASSWORD:?POSTGRES_PASSWORD must be set for the first start}"
  user=${POSTGRES_USER:-postgres}
  database=${POSTGRES_DB:-$user}
  pw=$(mktemp)
  printf '%s\n' "$POSTGRES_PASSWORD" > "$pw"
  initdb --username="$user" --pwfile="$pw" --auth-local=trust --auth-host=scram-sha-256 --no-sync >/dev/null
  rm -f "$pw"
  printf 'host all all all scram-sha-256\n' >> "$PGDATA/pg_hba.conf"
  printf "listen_addresses = '*'\n" >> "$PGDATA/postgresql.conf"
  # Until all is set up, the server listens on its socket only: a health check over TCP sees no half-made database.
  pg_ctl -D "$PGDATA" -w -o "-c listen_addresses=''" start >/dev/null
  if [ "$database" != postgres ]; then
    psql -qX -v ON_ERROR_STOP=1 -U "$user" -d postgres -v name="$database" <<'SQL'
CREATE DATABASE :"name";
SQL
  fi
  for file in /docker-entrypoint-initdb.d/*; do
    case $file in
      *.sh) . "$file" ;;
      *.sql) psql -qX -v ON_ERROR_STOP=1 -U "$user" -d "$database" -f "$file" ;;
    esac
  done
  pg_ctl -D "$PGDATA" -w -m fast stop >/dev/null
fi
exec "$@"
