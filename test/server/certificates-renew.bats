#!/usr/bin/env bats
# Renewal as cron does it, and what keeps it from reaching the browser.
bats_require_minimum_version 1.5.0

load certificates

# One certificate for all tests of the file: each begins with nginx serving it, and not due.
setup_file() {
  certificates_up
  fresh_site
  opsbook issue-certificate 2>/dev/null
  start_nginx
  on_site cp -a /etc/letsencrypt /srv/letsencrypt
}

teardown_file() { on_site rm -rf /srv/letsencrypt; }

setup() {
  MORE=() SITE_PATH=/usr/bin:/bin
  on_site sh -c 'rm -rf /etc/letsencrypt/* && cp -a /srv/letsencrypt/. /etc/letsencrypt && rm -rf /srv/bin'
  nginx_conf
  wait_for reload_nginx
  wait_for is_served
}

teardown() { on_site rm -f /etc/cron.d/certbot; }

is_served() { [ "$(in_file)" = "$(on_the_wire)" ]; }

# Another lineage, which is renewed standalone: while nginx runs it fails.
add_standalone() {
  site_compose stop nginx
  on_site certbot certonly --standalone -d "www.$DOMAIN" --non-interactive --agree-tos -m ops@example.org --server "$ACME"
  site_compose start nginx
  on_site sed -i 's/^# *renew_before_expiry.*/renew_before_expiry = 3000 days/' "/etc/letsencrypt/renewal/www.$DOMAIN.conf"
}

@test "when nothing is due it says nothing, and the certificate stays" {
  local before
  before=$(in_file)
  run -0 opsbook renew-certificates
  assert_output ''
  assert_equal "$(in_file)" "$before"
}

@test "what is due is renewed, nginx reloaded, and the new certificate seen to be served" {
  make_due
  local before
  before=$(in_file)
  run -0 --separate-stderr opsbook renew-certificates
  [[ $stderr == *"~ certificate $DOMAIN: "*"reload nginx: serves the certificate of $DOMAIN"* ]]
  refute [ "$(in_file)" = "$before" ]
  assert_equal "$(in_file)" "$(on_the_wire)"
}

@test "✗ certbot renew --dry-run tests the saved authenticator, not the cron's flags: our renewal has no flags but what is saved" {
  run -0 --separate-stderr opsbook renew-certificates --dry-run
  assert_regex "$stderr" 'certbot renew --no-random-sleep-on-renew --non-interactive'$'\n'
  run -0 on_site certbot renew --dry-run --no-random-sleep-on-renew --server "$ACME"
  # What is saved is therefore what both would do: here, to fail.
  run -0 add_standalone
  run -1 on_site certbot renew --dry-run --no-random-sleep-on-renew --server "$ACME"
  run -1 --separate-stderr opsbook renew-certificates
  assert_error 'certbot: .*www\.bloaty-app\.test.*Could not bind TCP port 80'
}

@test "of two certificates one fails: the other is renewed and served, and the failure told" {
  run -0 add_standalone
  make_due
  local before
  before=$(in_file)
  run -1 --separate-stderr opsbook renew-certificates
  assert_error 'certbot: .*www\.bloaty-app\.test.*Could not bind TCP port 80'
  refute [ "$(in_file)" = "$before" ]
  assert_equal "$(in_file)" "$(on_the_wire)"
}

@test "renewed but not reloaded: the next run reloads, though nothing is due" {
  make_due
  run -0 on_site certbot renew --no-random-sleep-on-renew
  refute is_served
  on_site sed -i 's/^renew_before_expiry.*/# renew_before_expiry = 30 days/' "$RENEWAL"
  run -3 --separate-stderr opsbook check-certificate
  assert_line --regexp "✗  served by $DOMAIN .*not the certificate in the file, .*run renew-certificates: it reloads"
  run -0 --separate-stderr opsbook renew-certificates
  [[ $stderr == *'reload nginx: serves the certificate'* ]]
  assert_equal "$(in_file)" "$(on_the_wire)"
}

@test "a reload that fails is a failure, with nginx's reason; once that is corrected, the next run delivers" {
  make_due
  nginx_conf 'no_such_directive on;'
  run -1 --separate-stderr opsbook renew-certificates
  assert_error 'nginx did not reload: .*unknown directive "no_such_directive".*Next: correct that, see: docker compose exec nginx nginx -t'
  refute is_served
  nginx_conf
  run -0 opsbook renew-certificates
  assert_equal "$(in_file)" "$(on_the_wire)"
}

@test "✗ certbot forgives a deploy hook that fails: the reload is a step of its own, and is made" {
  make_due
  on_site sh -c 'cd /etc/letsencrypt/renewal-hooks/deploy && printf "#!/bin/sh\nexit 1\n" >reload && chmod 755 reload'
  run -0 on_site certbot renew --no-random-sleep-on-renew
  assert_output --partial 'reported error code 1'
  refute is_served
  run -0 opsbook renew-certificates
  assert_equal "$(in_file)" "$(on_the_wire)"
}

@test "a proxy that goes on with another certificate after the reload is a failure" {
  on_site sh -c 'openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=other -days 9 -keyout /etc/letsencrypt/other.key -out /etc/letsencrypt/other.pem 2>/dev/null'
  nginx_conf "$CHALLENGES" "server { listen 443 ssl; ssl_certificate /etc/letsencrypt/other.pem; ssl_certificate_key /etc/letsencrypt/other.key; }"
  reload_nginx
  run -1 --separate-stderr opsbook renew-certificates
  assert_error "$DOMAIN is not served with the certificate in its file, but with one valid until .*Next: let nginx listen on port 443 with $LIVE/fullchain\.pem"
}

@test "a certbot that runs already is told by exit 75" {
  # certbot's own lock, held as certbot holds it.
  on_machine exec --detach "$SANDBOX_SITE_CONTAINER" python3 -c 'import fcntl, time
lock = open("/etc/letsencrypt/.certbot.lock", "w"); fcntl.lockf(lock, fcntl.LOCK_EX); open("/run/locked", "w"); time.sleep(60)'
  wait_for on_site test -e /run/locked
  run -75 --separate-stderr opsbook renew-certificates
  on_site sh -c 'rm /run/locked; pkill -f "[c]ertbot.lock"'
  assert_error 'another certbot runs on this host\. Next: try again shortly'
}

@test "another renewer beside ours is warned of: Debian's cron entry, Amazon Linux's timer" {
  on_site sh -c 'echo "0 */12 * * * root certbot -q renew" >/etc/cron.d/certbot'
  # No systemd in a container: what it says of its timers.
  on_site sh -c 'mkdir -p /srv/bin; printf "#!/bin/sh\necho certbot-renew.timer loaded active waiting daily\n" >/srv/bin/systemctl; chmod 755 /srv/bin/systemctl'
  SITE_PATH=/srv/bin:$SITE_PATH
  run -0 --separate-stderr opsbook renew-certificates
  [[ $stderr == *'warning: certbot-renew.timer renews as well, and reloads nothing. Next: systemctl disable --now certbot-renew.timer'* ]]
  [[ $stderr == *"warning: /etc/cron.d/certbot renews as well, and reloads nothing. Next: take certbot's line out"* ]]
}

@test "without a certificate there is nothing to renew, and it says what to do" {
  on_site rm -rf /etc/letsencrypt/live /etc/letsencrypt/renewal
  run -1 --separate-stderr opsbook renew-certificates
  assert_error "there is no certificate for $DOMAIN\. Next: run issue-certificate"
}
