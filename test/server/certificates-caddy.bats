#!/usr/bin/env bats
# Apps with Caddy need no certificate from us; the check looks at Caddy's. Real Caddy, certificates from pebble.
bats_require_minimum_version 1.5.0

load certificates

setup_file() {
  certificates_up
  fresh_site
  settings PROXY_SERVICE=proxy
  on_site sh -c "cp /usr/local/share/ca-certificates/acme.crt $SITE/acme.crt
    printf '{\n acme_ca $ACME\n acme_ca_root /acme.crt\n}\n$DOMAIN\nrespond hello\n' >$SITE/Caddyfile"
  caddy data:/root/.local/share/caddy
}

setup() {
  MORE=() SITE_PATH=/usr/bin:/bin
}

teardown_file() {
  MORE=() SITE_PATH=/usr/bin:/bin
  fresh_site
}

# Starts Caddy with this volume, and waits until it has its certificate.
caddy() {
  on_site tee "$SITE/docker-compose.yml" >/dev/null <<YAML
services:
  proxy:
    image: sandbox/caddy:2.6
    restart: unless-stopped
    ports: ["80:80", "443:443"]
    volumes: [./Caddyfile:/etc/caddy/Caddyfile:ro, ./acme.crt:/acme.crt:ro, "$1"]
volumes: { data: }
YAML
  # Not only recreated: Compose hands volumes on from one container to the next.
  site_compose rm --stop --force 2>/dev/null
  site_compose up --detach 2>/dev/null
  wait_for on_the_wire
}

@test "Caddy's certificate is looked at, and that none is needed said" {
  run -0 opsbook check-certificate
  assert_line --regexp '✓  certificate .*none is needed: proxy is a Caddy, which gets and renews its own'
  assert_line --regexp '✓  data .*/root/\.local/share/caddy is in bloaty_data'
  assert_line --regexp "✓  served by $DOMAIN .*(89|90) days left of 90 days"
}

@test "issue-certificate and renew-certificates leave Caddy's certificates to Caddy" {
  run -0 --separate-stderr opsbook issue-certificate
  [[ $stderr == *'= proxy gets its certificates itself' ]]
  run -0 opsbook renew-certificates
  assert_output ''
  run ! on_site test -e /etc/letsencrypt
}

@test "a Caddy without a volume for its data would ask for new certificates with each container" {
  caddy /root/.local/share/caddy
  run -3 --separate-stderr opsbook check-certificate
  assert_line --regexp '✗  data .*goes with the container: each new one asks for new certificates +mount a named volume there in proxy'
  caddy data:/root/.local/share/caddy
}

@test "a Caddy that does not run is found" {
  site_compose stop proxy
  run -3 --separate-stderr opsbook check-certificate
  assert_line --regexp '✗  proxy .*proxy does not run'
  assert_line --regexp "✗  served by $DOMAIN .*nothing listens on port 443"
  site_compose start proxy
}
