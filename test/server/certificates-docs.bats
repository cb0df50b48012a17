#!/usr/bin/env bats
# What docs/certificates.md shows: its files, its commands and its cron entry, as they stand there.
bats_require_minimum_version 1.5.0

load certificates

setup_file() { certificates_up; }
setup() { fresh_site; }
teardown() { on_site rm -f /etc/cron.d/bloaty-certificates /var/log/opsbook-certificates.log; }

# The blocks of a language in the page, for the domain and the checkout of the test.
blocks() {
  sed -n "/^\`\`\`$1\$/,/^\`\`\`\$/{/^\`\`\`/d;p}" "$REPO/docs/certificates.md" |
    sed "s|bloaty-app\.com|$DOMAIN|g; s|/opt/opsbook|$REPO|g; s|npx tsx scripts|tsx $REPO/scripts|"
}

# The app as the page says that it has to be, with an image.
documented_app() {
  { blocks yaml; echo '    image: sandbox/nginx:1.26'; } | on_site tee "$SITE/docker-compose.yml" >/dev/null
  blocks nginx | on_site tee "$SITE/nginx.conf" >/dev/null
}

# What cron's PATH is, and what Node is to trust.
in_shell() { on_site env -i PATH="$REPO/node_modules/.bin:$SITE_PATH" NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt sh -euc "$1"; }

logged() { on_site grep -q "reload nginx: serves the certificate of $DOMAIN" /var/log/opsbook-certificates.log; }

@test "docs/certificates.md: its app gets a certificate by its commands, its cron entry renews it, its check is content" {
  documented_app
  start_nginx
  run -3 in_shell "$(blocks sh)"
  assert_line --partial "certificate for $DOMAIN"
  assert_line --regexp '✗  schedule +nothing runs renew-certificates'
  assert_equal "$(in_file)" "$(on_the_wire)"

  # The entry runs at the next full minute; twice a day is too seldom for a test.
  make_due
  local before
  before=$(in_file)
  blocks cron | sed -E 's/^17 1,13 /* * /; 1i NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt' |
    on_site sh -c 'umask 022; cat >/etc/cron.d/bloaty-certificates'
  for _ in 1 2 3 4 5 6 7; do ! wait_for logged 2>/dev/null || break; done
  on_site sed -i 's/^renew_before_expiry.*/# renew_before_expiry = 30 days/' "$RENEWAL"
  refute [ "$(in_file)" = "$before" ]
  run -0 on_site cat /var/log/opsbook-certificates.log
  assert_equal "$(grep -cv ' renew-certificates: \(~ certificate\|reload nginx\)' <<<"$output")" 0

  run -0 in_shell "$(blocks sh | tail -2)"
  [[ $output != *✗* ]]
}
