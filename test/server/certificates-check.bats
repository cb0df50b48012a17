#!/usr/bin/env bats
# The check that finds what will keep a certificate from being renewed or served, while there is time.
bats_require_minimum_version 1.5.0

load certificates

# One certificate for all tests of the file, and nothing wrong with it.
setup_file() {
  certificates_up
  fresh_site
  opsbook issue-certificate 2>/dev/null
}

setup() {
  MORE=() SITE_PATH=/usr/bin:/bin
  settings
  compose_file
  nginx_conf
  echo '0 1,13 * * * root tsx /opt/opsbook/scripts/server/renew-certificates.ts' | on_site tee /etc/cron.d/renew >/dev/null
  start_nginx 2>/dev/null
  wait_for reload_nginx
  wait_for is_served
}

teardown() { on_site rm -f /etc/cron.d/renew; }

is_served() { [ "$(in_file)" = "$(on_the_wire)" ]; }

# The check exits 3, and these are the lines of what is not well.
assert_problems() {
  run -3 --separate-stderr opsbook check-certificate
  local problems
  problems=$(grep '^✗' <<<"$output")
  assert_equal "$(wc -l <<<"$problems")" "$#"
  local problem
  for problem in "$@"; do
    grep -qE "$problem" <<<"$problems" || fail "no row that matches $problem: $output"
  done
  assert_error ''
}

@test "where all is well it exits 0, with a row for each thing that it looked at" {
  run -0 opsbook check-certificate
  [[ $output != *✗* ]]
  run -0 opsbook check-certificate --json
  run -0 "$NODE" -e 'console.log(JSON.parse(process.argv[1]).checks.map((row) => `${row.ok} ${row.name}: ${row.found}${row.todo}`).join("\n"))' "$output"
  assert_line --regexp '^true certificate: for bloaty-app.test, of Pebble Intermediate'
  assert_line --regexp '^true lifetime: (89|90) days left of 90 days$'
  assert_line 'true renewal: by webroot in /var/www/certbot'
  assert_line 'true schedule: /etc/cron.d/renew'
  assert_line 'true proxy: nginx runs'
  assert_line --regexp '^true challenge of bloaty-app.test: served at [0-9.]+$'
  assert_line --regexp '^true served by bloaty-app.test: the certificate in the file, '
  assert_equal "${#lines[@]}" 7
}

@test "the challenge is redirected" {
  nginx_conf ''
  reload_nginx
  assert_problems 'challenge of .* is redirected to https://.* \(301.*before the redirect to https'
}

@test "the webroot is not served, since it is not mounted" {
  compose_file /etc/letsencrypt:/etc/letsencrypt:ro
  start_nginx
  wait_for is_served
  assert_problems 'challenge of .* does not serve /var/www/certbot \(404.*mount /var/www/certbot'
}

@test "nothing listens" {
  site_compose stop nginx
  assert_problems 'proxy .*nginx does not run .*docker compose logs nginx' \
    'challenge of .*nothing listens on port 80 of' 'served by .*nothing listens on port 443 .*start the proxy'
  # And it is for a person to start: the check changes nothing.
  run -0 site_compose ps --quiet
  assert_output ''
}

@test "the webroot is another than the saved one" {
  settings ACME_WEBROOT=/var/www/challenges
  nginx_conf "${CHALLENGES/certbot/challenges}"
  compose_file /etc/letsencrypt:/etc/letsencrypt:ro /var/www/challenges:/var/www/challenges:ro
  start_nginx
  wait_for is_served
  assert_problems 'renewal .*renewed in /var/www/certbot, not in /var/www/challenges.*run issue-certificate'
}

@test "the chain is incomplete" {
  nginx_conf "$CHALLENGES" "${HTTPS/fullchain.pem/cert.pem}"
  reload_nginx
  assert_problems 'served by .*its chain is incomplete +let the proxy serve fullchain.pem, not cert.pem'
}

@test "the certificate is for other names than DOMAIN" {
  settings "DOMAIN=$DOMAIN,www.$DOMAIN"
  assert_problems "certificate  .*for $DOMAIN +run issue-certificate for $DOMAIN, www.$DOMAIN" \
    "served by www.$DOMAIN .*it is for $DOMAIN +correct DOMAIN"
}

# A certificate for the domain that expired as bloaty's did, signed by an authority that the host trusts.
expired() {
  in_pebble sh -c "cd /tmp && openssl req -newkey rsa:2048 -nodes -subj /CN=$DOMAIN -keyout key.pem -out request.pem 2>/dev/null
    printf subjectAltName=DNS:$DOMAIN >names
    openssl x509 -req -in request.pem -CA /etc/acme/ca.pem -CAkey /etc/acme/ca.key -extfile names -out cert.pem \
      -not_before 20251123000000Z -not_after 20260221000000Z 2>/dev/null
    cat cert.pem /etc/acme/ca.pem"
}

@test "✗ bloaty's certificate expired on 21 February: the file's lifetime and what is served are told" {
  on_site cp -a /etc/letsencrypt /srv/letsencrypt
  expired | on_site tee "$LIVE/fullchain.pem" >/dev/null
  in_pebble cat /tmp/key.pem | on_site tee "$LIVE/privkey.pem" >/dev/null
  reload_nginx
  wait_for is_served
  assert_problems 'lifetime .*expired [0-9]+ days ago of 90 days +run renew-certificates, and see why it did not' \
    'served by .*it expired on 2026-02-21 +run renew-certificates'
  on_site sh -c 'rm -rf /etc/letsencrypt/*; cp -a /srv/letsencrypt/. /etc/letsencrypt; rm -r /srv/letsencrypt'
}

@test "only the certificate's files are mounted: a renewal would be other files" {
  compose_file "$LIVE/fullchain.pem:$LIVE/fullchain.pem:ro" "$LIVE/privkey.pem:$LIVE/privkey.pem:ro" \
    /var/www/certbot:/var/www/certbot:ro
  start_nginx
  wait_for is_served
  assert_problems 'proxy .*only /etc/letsencrypt/.* is mounted in nginx +mount the whole of /etc/letsencrypt'
}

@test "nothing renews, or something that reloads nothing" {
  on_site rm /etc/cron.d/renew
  assert_problems 'schedule .*nothing runs renew-certificates +enter it in cron'
  echo '0 0,12 * * * root certbot renew --quiet' | on_site tee /etc/cron.d/renew >/dev/null
  assert_problems 'schedule .*nothing runs renew-certificates' \
    "schedule .*/etc/cron.d/renew renews as well, and reloads nothing +take certbot's line out of /etc/cron.d/renew"
}

@test "there is no certificate" {
  on_site mv /etc/letsencrypt /srv/letsencrypt
  assert_problems 'certificate .*there is none +run issue-certificate'
  on_site sh -c 'rm -rf /etc/letsencrypt; mv /srv/letsencrypt /etc/letsencrypt'
}
