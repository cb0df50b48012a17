#!/usr/bin/env bats
# What keeps a certificate from being issued: found before the authority is asked wherever that can be, since it counts
# failed attempts; and told in one line where only the authority knows.
bats_require_minimum_version 1.5.0

load certificates

setup_file() { certificates_up; }
setup() { fresh_site; }
teardown() {
  end_started
  end_front
  end_pebbles
}

@test "a redirect in the way of the challenge is found before the authority is asked" {
  nginx_conf '' ''
  start_nginx
  run -1 --separate-stderr opsbook issue-certificate
  assert_error "http://$DOMAIN/\.well-known/acme-challenge/ is redirected to https://$DOMAIN/.* \(301, .*serve /.well-known/acme-challenge/ from /var/www/certbot before the redirect"
  assert_unasked
  assert_clean
}

@test "a webroot that is not mounted in nginx is found before the authority is asked" {
  compose_file /etc/letsencrypt:/etc/letsencrypt:ro
  nginx_conf "$CHALLENGES" ''
  start_nginx
  run -1 --separate-stderr opsbook issue-certificate
  assert_error 'does not serve /var/www/certbot \(404, [0-9.]+\)\. Next: mount /var/www/certbot in the proxy'
  assert_unasked
  assert_clean
}

@test "nothing that listens on port 80 is found before the authority is asked" {
  on_site sed -i 's/"80:80", //' "$SITE/docker-compose.yml"
  nginx_conf "$CHALLENGES" ''
  start_nginx
  run -1 --separate-stderr opsbook issue-certificate
  assert_error 'nothing listens on port 80 of [0-9.]+\. Next: start the proxy'
  assert_unasked
}

@test "a port 80 that a firewall closes is found before the authority is asked" {
  on_site sh -c 'grep -q closed.test /etc/hosts || echo "192.0.2.80 closed.test" >>/etc/hosts; iptables -I OUTPUT -d 192.0.2.80 -j DROP'
  settings DOMAIN=closed.test
  run -1 --separate-stderr opsbook issue-certificate
  on_site iptables -D OUTPUT -d 192.0.2.80 -j DROP
  assert_error 'port 80 of 192\.0\.2\.80 does not answer\. Next: open port 80 in the firewall and security group'
  assert_unasked
}

@test "a directory of challenges that cannot be written is told, and nothing is left of the attempt" {
  on_site sh -c 'rm -r /var/www/certbot && touch /var/www/certbot'
  run -1 --separate-stderr opsbook issue-certificate
  on_site rm /var/www/certbot
  assert_error '/var/www/certbot'
  assert_unasked
}

@test "something else that has port 80 is found before the authority is asked" {
  on_machine exec --detach "$SANDBOX_SITE_CONTAINER" python3 -m http.server 80 --directory /srv
  wait_for on_site curl -so /dev/null "http://$DOMAIN/"
  run -1 --separate-stderr opsbook issue-certificate
  on_site pkill -f '[h]ttp.server 80'
  assert_error 'something that is not the proxy listens on port 80\. Next: see what has it'
  assert_unasked
}

@test "names that do not resolve are found before the authority is asked, all of them" {
  settings "DOMAIN=nobody.invalid,$DOMAIN,nowhere.invalid"
  nginx_conf "$CHALLENGES" ''
  start_nginx
  run -1 --separate-stderr opsbook issue-certificate
  [[ $stderr == *'error: nobody.invalid: does not resolve (ENOTFOUND). Next: make a record for nobody.invalid in DNS'* ]]
  [[ $stderr == *'error: nowhere.invalid: does not resolve'* ]]
  assert_unasked
  assert_clean
}

@test "a name that leads to another host is found before the authority is asked, with the address" {
  local other
  other=$(on_site getent hosts aws.sandbox | cut -d' ' -f1)
  settings DOMAIN=aws.sandbox
  nginx_conf "$CHALLENGES" ''
  start_nginx
  run -1 --separate-stderr opsbook issue-certificate
  assert_error "aws\.sandbox: .*port 80 of $other"
  assert_unasked
}

@test "an address that cannot be reached from here stops nothing when another can; alone it does" {
  on_site sh -c 'grep -q six.test /etc/hosts || printf "2001:db8::6 six.test only-six.test\n%s six.test\n" "$(hostname -i)" >>/etc/hosts'
  settings DOMAIN=six.test,only-six.test
  run -1 --separate-stderr opsbook issue-certificate
  assert_error 'only-six\.test: 2001:db8::6 cannot be reached from here\. Next: correct the record in DNS'
  [[ $stderr != *'error: six.test'* ]]
  assert_unasked
}

@test "a name that only the authority cannot resolve: its reason, in one line" {
  on_site sh -c 'grep -q half.invalid /etc/hosts || echo "$(hostname -i) half.invalid" >>/etc/hosts'
  settings DOMAIN=half.invalid
  run -1 --separate-stderr opsbook issue-certificate
  assert_error 'certbot: half\.invalid: .*could not resolve URL .*\(connection\)\. Next: run check-certificate'
  assert_clean
}

@test "an authority that refuses the name: its reason, in one line" {
  start_pebble 14200 "domainBlocklist=[\"$DOMAIN\"]"
  settings ACME_SERVER=https://pebble.sandbox:14200/dir
  start_nginx
  run -1 --separate-stderr opsbook issue-certificate
  assert_error "certbot: Order included an identifier for which issuance is forbidden by policy: .*$DOMAIN"
  assert_clean
  # An nginx that waited for the certificate waits again, as Docker lets it.
  run -0 site_compose ps --all --format '{{.State}}'
  refute_output --partial exited
}

@test "an authority that refuses every nonce: its reason, in one line" {
  start_pebble 14300 PEBBLE_WFE_NONCEREJECT=100
  settings ACME_SERVER=https://pebble.sandbox:14300/dir
  run -1 --separate-stderr opsbook issue-certificate
  assert_error 'certbot: .*JWS has an invalid anti-replay nonce'
}

@test "an authority that cannot be reached: its address, in one line" {
  settings ACME_SERVER=https://pebble.sandbox:9/dir
  run -1 --separate-stderr opsbook issue-certificate
  assert_error 'certbot: .*pebble\.sandbox.*'
}

@test "a rate limit: what it says, and how to go on until then" {
  start_front limited
  settings ACME_SERVER=https://localhost:14443/dir
  run -1 --separate-stderr opsbook issue-certificate
  assert_error 'certbot: .*too many certificates \(5\) already issued .*retry after 2026-11-22.*Next: wait as long as it says; until then try with ACME_SERVER set to a staging server'
  assert_clean
}

@test "an interrupted issue leaves nobody on port 80 and no probe, and the next one goes on" {
  start_nginx
  start_front silent
  settings ACME_SERVER=https://localhost:14443/dir
  OUT=$BATS_TEST_TMPDIR/out
  opsbook issue-certificate >"$OUT" 2>&1 3>&- &
  PID=$!
  STARTED+=("$PID")
  wait_for on_site test -e /run/acme-front.asked
  on_site pkill -TERM -f '[i]ssue-certificate.ts'
  assert_ends 143
  assert_clean
  run ! on_site pgrep -f '[c]ertbot certonly'
  settings
  run -0 --separate-stderr opsbook issue-certificate
  assert_equal "$(in_file)" "$(on_the_wire)"
}

@test "a self-signed certificate in the place of certbot's is named, and out of the way it is replaced under a running nginx" {
  on_site sh -c "mkdir -p $LIVE && openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=$DOMAIN -days 9 -keyout $LIVE/privkey.pem -out $LIVE/fullchain.pem 2>/dev/null"
  start_nginx
  run -1 --separate-stderr opsbook issue-certificate
  assert_error "$LIVE/fullchain\.pem is not certbot's: .*mv $LIVE /etc/letsencrypt/$DOMAIN\.before"
  # shellcheck disable=SC2086
  on_site mv ${stderr##*: mv }
  run -0 opsbook issue-certificate
  assert_equal "$(in_file)" "$(on_the_wire)"
}
