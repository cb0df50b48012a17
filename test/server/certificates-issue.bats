#!/usr/bin/env bats
# The first certificate of an app, and what there is of it already: real certbot and nginx, pebble as the authority.
bats_require_minimum_version 1.5.0

load certificates

setup_file() { certificates_up; }
setup() { fresh_site; }
@test "as the app's user, too: what has to be root's is done by sudo" {
  on_site chown -R ec2-user "$SITE"
  RUN_AS=ec2-user
  start_nginx
  run -0 --separate-stderr opsbook issue-certificate
  assert_equal "$(in_file)" "$(on_the_wire)"
  assert_clean
  make_due
  run -0 opsbook renew-certificates
  assert_equal "$(in_file)" "$(on_the_wire)"
  run -3 --separate-stderr opsbook check-certificate
  assert_error 'nothing runs renew-certificates'
}

# The host's sshd, as from elsewhere: with a key, and the host's own key known.
ssh_to_site() {
  on_site sh -c "umask 077; mkdir -p /root/.ssh; cat >/root/.ssh/site" <"$SANDBOX_SITE_KEY"
  on_site sh -c 'ssh-keyscan -t ed25519 localhost >/root/.ssh/known_hosts 2>/dev/null'
}

@test "from elsewhere, with --target: everything on the host is done by ssh" {
  on_site chown -R ec2-user "$SITE"
  start_nginx
  ssh_to_site
  MORE=(SSH_IDENTITY_FILE=/root/.ssh/site)
  run -0 --separate-stderr opsbook issue-certificate --target ssh://ec2-user@localhost
  assert_equal "$(in_file)" "$(on_the_wire)"
  assert_clean
  run -3 --separate-stderr opsbook check-certificate --target ssh://ec2-user@localhost
  assert_line --regexp "✓  served by $DOMAIN"
  on_site rm -r /root/.ssh
}

teardown() {
  end_front
  end_pebbles
}

@test "✗ nginx cannot start until the certificate's files exist: the first certificate is got before it, and it starts" {
  start_nginx
  run -0 --separate-stderr opsbook issue-certificate
  [[ $stderr == *'serve /var/www/certbot until nginx runs: done'*'+ certificate for bloaty-app.test'*'start nginx: done'* ]]
  assert_equal "$(in_file)" "$(on_the_wire)"
  # What is saved works while nginx runs, from the first day.
  run -0 on_site grep -E '^authenticator' "$RENEWAL"
  assert_output 'authenticator = webroot'
  assert_clean
}

@test "a first certificate is got through the nginx that runs; when nginx has it in its configuration, it is reloaded" {
  nginx_conf "$CHALLENGES" ''
  start_nginx
  local before
  before=$(site_compose ps --quiet)
  run -0 --separate-stderr opsbook issue-certificate
  [[ $stderr == *'warning: bloaty-app.test: '*'443'*'Next: let nginx listen on port 443 with '"$LIVE/fullchain.pem"* ]]
  nginx_conf
  run -0 --separate-stderr opsbook issue-certificate
  [[ $stderr == *'= certificate for bloaty-app.test'*'reload nginx: serves the certificate'* ]]
  assert_equal "$(in_file)" "$(on_the_wire)"
  assert_equal "$(site_compose ps --quiet)" "$before"
}

@test "before the app is on the host its certificate is got, and the app finds it" {
  on_site rm "$SITE/docker-compose.yml"
  run -0 --separate-stderr opsbook issue-certificate
  [[ $stderr == *'nginx is not there yet: it finds the certificate when the app is started'* ]]
  compose_file
  start_nginx
  wait_for on_the_wire
  assert_equal "$(in_file)" "$(on_the_wire)"
  assert_clean
}

@test "a second run finds nothing to do, and says so" {
  run -0 opsbook issue-certificate
  start_nginx
  wait_for on_the_wire
  local before
  before=$(in_file)
  run -0 --separate-stderr opsbook issue-certificate
  assert_equal "$(wc -l <<<"$stderr")" 1
  [[ $stderr == *'= certificate for bloaty-app.test: 89 days left, renewed by webroot' ]]
  assert_equal "$(in_file)" "$before"
}

@test "a dry run prints the commands, runs none of them and asks no authority" {
  start_nginx
  run -0 --separate-stderr opsbook issue-certificate --dry-run
  [[ $stderr == *'would: serve /var/www/certbot until nginx runs'*'python3 -u -m http.server 80'* ]]
  [[ $stderr == *"would: get a certificate for $DOMAIN (there is none)"*"certbot certonly --webroot --webroot-path /var/www/certbot --cert-name $DOMAIN --domain $DOMAIN"* ]]
  [[ $stderr == *'would: start nginx'* ]]
  run ! on_site test -e /etc/letsencrypt/renewal

  nginx_conf "$CHALLENGES" ''
  start_nginx
  wait_for reload_nginx
  run -0 --separate-stderr opsbook issue-certificate --dry-run
  [[ $stderr == *'would: check that bloaty-app.test serve /var/www/certbot'*'would: reload nginx'*'nginx -s reload' ]]
  run -0 on_site find /var/www/certbot /etc/letsencrypt -type f
  assert_output ''
}

@test "✗ the certificate's name is hard-coded: it comes from DOMAIN, and a further name goes into the same certificate" {
  nginx_conf
  run -0 opsbook issue-certificate
  start_nginx
  settings "DOMAIN=$DOMAIN,www.$DOMAIN"
  run -0 --separate-stderr opsbook issue-certificate
  [[ $stderr == *"get a certificate for $DOMAIN, www.$DOMAIN (it is for $DOMAIN): done"*'reload nginx'* ]]
  run -0 on_site openssl x509 -in "$LIVE/fullchain.pem" -noout -ext subjectAltName
  assert_output --partial "DNS:$DOMAIN, DNS:www.$DOMAIN"
  assert_equal "$(in_file)" "$(on_the_wire)"
}

# As the guide has it: before nginx is up, and never to be renewed again once it is.
issue_standalone() {
  on_site certbot certonly --standalone -d "$DOMAIN" --non-interactive --agree-tos -m ops@example.org --server "$ACME"
}

@test "✗ bloaty's certificate expired, since nginx holds port 80 and its renewal is standalone: it is changed to webroot" {
  run -0 issue_standalone
  start_nginx
  make_due
  run -1 on_site certbot renew --no-random-sleep-on-renew
  assert_output --partial 'Could not bind TCP port 80'
  run -3 --separate-stderr opsbook check-certificate
  assert_line --regexp '✗  renewal .*it is renewed by standalone: that fails while the proxy runs +run issue-certificate'

  run -0 --separate-stderr opsbook issue-certificate
  [[ $stderr == *"renew the certificate for $DOMAIN by webroot (it is renewed by standalone): done"* ]]
  local before
  before=$(in_file)
  run -0 opsbook renew-certificates
  refute [ "$(in_file)" = "$before" ]
  assert_equal "$(in_file)" "$(on_the_wire)"
}

@test "a certbot without reconfigure (Debian 12's, Ubuntu 22.04's) is told apart before anything is changed" {
  run -0 issue_standalone
  start_nginx
  # No old certbot: one that says that it is.
  on_site sh -c 'mkdir -p /srv/bin; printf "#!/bin/sh\necho certbot 2.1.0\n" >/srv/bin/certbot; chmod 755 /srv/bin/certbot'
  SITE_PATH=/srv/bin:$SITE_PATH
  run -1 --separate-stderr opsbook issue-certificate
  assert_error 'certbot 2\.1\.0 cannot change how a certificate is renewed: that came with 2\.3'
  run -0 on_site grep -E '^authenticator' "$RENEWAL"
  assert_output 'authenticator = standalone'
}

@test "a certificate of another authority, such as a staging server, is replaced" {
  start_pebble 14100
  settings ACME_SERVER=https://pebble.sandbox:14100/dir
  run -0 opsbook issue-certificate
  start_nginx
  settings
  run -0 --separate-stderr opsbook issue-certificate
  [[ $stderr == *"(it is from https://pebble.sandbox:14100/dir): done"*'reload nginx'* ]]
  run -0 on_site grep -E '^server' "$RENEWAL"
  assert_output "server = $ACME"
  assert_equal "$(in_file)" "$(on_the_wire)"
}
