# What the tests of certificates share: a host on which nginx runs by Compose, as bloaty's does, and pebble, which issues
# for every name below .test after it found the challenge on that host. Real certbot, nginx and Caddy.
load ../helpers

DOMAIN=bloaty-app.test
SITE=/opt/bloaty
LIVE=/etc/letsencrypt/live/$DOMAIN
RENEWAL=/etc/letsencrypt/renewal/$DOMAIN.conf
ACME=https://pebble.sandbox:14000/dir

# Brings the host and pebble up where they are not, and lets the host trust what pebble issues.
certificates_up() {
  [ -n "${SANDBOX_SITE_CONTAINER-}" ] || eval "$(npm --prefix "$REPO" run --silent sandbox -- up certificates)"
  in_pebble cat /etc/acme/ca.pem | on_site tee /usr/local/share/ca-certificates/acme.crt >/dev/null
  wait_for on_site curl -fsSko /dev/null https://pebble.sandbox:15000/roots/0
  on_site sh -c "curl -fsSk https://pebble.sandbox:15000/roots/0 >/usr/local/share/ca-certificates/pebble.crt
    update-ca-certificates >/dev/null 2>&1
    grep -q $DOMAIN /etc/hosts || echo \"\$(hostname -i) $DOMAIN www.$DOMAIN\" >>/etc/hosts"
}

on_machine() { docker ${SANDBOX_DOCKER_HOST:+--host "$SANDBOX_DOCKER_HOST"} "$@"; }
on_site() { on_machine exec -i "$SANDBOX_SITE_CONTAINER" "$@"; }
in_pebble() { on_machine exec -i "$SANDBOX_ACME_CONTAINER" "$@"; }

# A host without a certificate, with the app's files on it; nothing runs.
fresh_site() {
  MORE=() SITE_PATH=/usr/bin:/bin
  on_site sh -c "cd $SITE 2>/dev/null && docker compose down --volumes --timeout 1 >/dev/null 2>&1
    rm -rf $SITE /etc/letsencrypt /var/lib/letsencrypt /var/log/letsencrypt /var/www/certbot /etc/cron.d/renew /srv/bin
    mkdir -p $SITE /var/www/certbot"
  settings
  compose_file
  nginx_conf
}

settings() {
  { printf '%s\n' APP=bloaty "APP_DIR=$SITE" "DOMAIN=$DOMAIN" ACME_EMAIL=ops@example.org "ACME_SERVER=$ACME" "$@"; } |
    on_site tee "$SITE/.env" >/dev/null
}

# The compose file; further volumes of nginx may be given, in place of the whole of certbot's directory and the webroot.
compose_file() {
  [ $# -gt 0 ] || set -- /etc/letsencrypt:/etc/letsencrypt:ro /var/www/certbot:/var/www/certbot:ro
  on_site tee "$SITE/docker-compose.yml" >/dev/null <<YAML
services:
  nginx:
    image: sandbox/nginx:1.26
    restart: unless-stopped
    ports: ["80:80", "443:443"]
    volumes:
      - ./nginx.conf:/etc/nginx/conf.d/site.conf:ro
$(printf '      - %s\n' "$@")
YAML
}

CHALLENGES='location /.well-known/acme-challenge/ { root /var/www/certbot; }'
HTTPS="server {
  listen 443 ssl;
  ssl_certificate $LIVE/fullchain.pem;
  ssl_certificate_key $LIVE/privkey.pem;
  location / { return 200 \"hello\n\"; }
}"

# nginx's configuration: what stands before the redirect to https, and the server that has the certificate.
nginx_conf() {
  on_site sh -c "cat >$SITE/nginx.conf" <<CONF
server {
  listen 80 default_server;
  ${1-$CHALLENGES}
  location / { return 301 https://\$host\$request_uri; }
}
${2-$HTTPS}
CONF
}

site_compose() { on_site docker compose --progress quiet --project-directory "$SITE" "$@"; }
start_nginx() { site_compose up --detach; }
reload_nginx() { site_compose exec -T nginx nginx -s reload; }

# Runs a script of the area on the host as cron would, as RUN_AS; MORE is added to its environment.
opsbook() {
  local step=$1
  shift
  on_site runuser -u "${RUN_AS-root}" -- env -i --chdir "$SITE" PATH="$REPO/node_modules/.bin:$SITE_PATH" HOME=/root \
    NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt "${MORE[@]}" \
    "$NODE" "$REPO/scripts/server/$step.ts" --env-file "$SITE/.env" "$@" </dev/null
}

# The serial numbers of the certificate in the file, and of the one that is served.
in_file() { on_site openssl x509 -in "$LIVE/fullchain.pem" -noout -serial; }
on_the_wire() {
  on_site sh -c "openssl s_client -connect $DOMAIN:443 -servername $DOMAIN </dev/null 2>/dev/null | openssl x509 -noout -serial"
}

# From now on certbot takes every certificate for due.
make_due() { on_site sed -i 's/^# *renew_before_expiry.*/renew_before_expiry = 3000 days/' "$RENEWAL"; }

# A script's last line: an error, and what to do next.
assert_error() {
  local line=${stderr##*$'\n'}
  [[ $line =~ error:\ .*$1 ]] || fail "no error that matches $1: $stderr"
  [[ $line == *'Next: '?* ]] || fail "an error without a next step: $line"
}

# certbot was not started: nothing has counted against a limit of the authority.
assert_unasked() { run ! on_site test -e /var/log/letsencrypt/letsencrypt.log; }

# Nothing of ours is left: no probe, and nobody on port 80 but the proxy.
assert_clean() {
  run -0 on_site sh -c "find /var/www/certbot -type f; pgrep -fa '[h]ttp.server 80' || true"
  assert_output ''
}

# Another pebble on PORT, with variables and additions to its configuration; ends with the file's tests.
start_pebble() {
  local port=$1 variables=()
  shift
  while [[ ${1-} == PEBBLE_* ]]; do variables+=(--env "$1") && shift; done
  on_machine exec --detach "${variables[@]}" "$SANDBOX_ACME_CONTAINER" serve "$port" "$@"
  wait_for on_site curl -fso /dev/null "https://pebble.sandbox:$port/dir"
}

end_pebbles() { in_pebble sh -c 'for file in /run/pebble-14[1-9]*.pid; do [ ! -e "$file" ] || { kill "$(cat "$file")"; rm "$file"; }; done'; }

# An authority in front of pebble, on the host, that does as acme-front.ts says.
start_front() {
  in_pebble cat /etc/acme/cert.pem /etc/acme/key.pem | on_site sh -c 'umask 077; cat >/run/acme-front.pem'
  on_machine exec --detach --env NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt "$SANDBOX_SITE_CONTAINER" \
    "$NODE" "$REPO/test/server/acme-front.ts" /run/acme-front.pem "$1"
  wait_for on_site curl -fso /dev/null https://localhost:14443/dir
}

end_front() { on_site sh -c 'pkill -f acme-front.ts; rm -f /run/acme-front.pem /run/acme-front.asked' || true; }
