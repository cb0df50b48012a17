#!/usr/bin/env bats
# An app is checked from outside and its hosts from inside: each check is seen to find what it is for.
bats_require_minimum_version 1.5.0
load verify

setup_file() {
  sick_up
  # One look, of which several tests read.
  inside --json >"$BATS_FILE_TMPDIR/sick.json" 2>"$BATS_FILE_TMPDIR/sick.err" || echo $? >"$BATS_FILE_TMPDIR/sick.code"
}

teardown_file() {
  sick_down
  on_host rm -rf /tmp/tls
}

setup() { over_ssh; }

sick() { rows "$1" <"$BATS_FILE_TMPDIR/sick.json"; }

@test "a well app: a table of 80 columns, from outside and of the host, and exit 0" {
  export CHECKS=health,version,containers,restarts,disk,inodes,clock,reboot,ports
  OPEN_PORTS=22,80,8099 run -0 --separate-stderr verify
  assert_line --regexp '^✓ health +http.* answers 200$'
  assert_line --regexp '^✓ version +1\.0\.0'
  assert_line 'on ec2-user@127.0.0.1'
  assert_line --regexp '^✓ containers +5 running, all healthy$'
  assert_line --regexp '^✓ ports +open: 22, 80, 8099; no firewall on the host$'
  run ! grep -E '^.{81}' <<<"$output"
}

@test "✗ G2: a container that is stopped is found, not looked for with grep in a list" {
  on_host docker stop --time 0 bloaty-worker-1
  CHECKS=containers run -3 --separate-stderr verify
  on_host docker start bloaty-worker-1
  assert_line --regexp '^✗ containers +worker is stopped'
  assert_line --partial '→ see why: remote logs worker'
  assert_regex "$stderr" 'verify-server: error: containers on ec2-user@127.0.0.1: worker is stopped .*Next: see why'
}

@test "an unhealthy container, one in a crash loop, and one that did its job" {
  run -0 sick containers
  assert_line 'problem ill is unhealthy'
  assert_line --regexp '^problem crash is restarting'
  refute_output --partial init
  run -0 sick restarts
  assert_line --regexp 'problem crash restarted [0-9]+ times, last '
}

@test "G1 64: error lines in the logs are counted and shown, without what looks like a secret" {
  run -0 sick logs
  assert_output 'problem loud-1: 1 error line in the last hour'
  run -0 jq -r '.rows[] | select(.check == "logs").lines[]' "$BATS_FILE_TMPDIR/sick.json"
  assert_output 'ERROR: cannot log in, password=[redacted]'
}

@test "D6.9: a port that Docker publishes to everybody is found" {
  run -0 sick ports
  assert_output 'problem Docker publishes 8099 of sick-open-1'
}

@test "--json is whole on stdout with exit 3; what the settings do not name is not set, and fails nothing" {
  assert_equal "$(cat "$BATS_FILE_TMPDIR/sick.code")" 3
  for check in dns tls redirect health version backup cron secrets; do
    run -0 sick "$check"
    assert_output --regexp '^unset .* not set$'
  done
}

@test "a disk without room for bytes, or for files" {
  on_host sh -c 'mkdir -p /mnt/small /mnt/many; mount -t tmpfs -o size=1m small /mnt/small; mount -t tmpfs -o nr_inodes=20 many /mnt/many
    head -c 1000k /dev/zero >/mnt/small/file; for i in $(seq 18); do : >/mnt/many/$i; done'
  CHECKS=disk,inodes run -3 --separate-stderr verify
  on_host umount /mnt/small /mnt/many
  assert_line --regexp '^✗ disk +/mnt/small is 9. % used'
  assert_line --regexp '^✗ inodes +/mnt/many is 95 % used'
}

@test "✗ G4: another version answers than the last one that was verified" {
  on_host sh -c "mkdir -p $APP_DIR/.opsbook; echo '{\"version\":\"1.1.0\",\"verified\":true}' >$APP_DIR/.opsbook/deployments.jsonl"
  CHECKS=version run -3 --separate-stderr verify
  on_host sh -c "echo '{\"version\":\"1.0.0\",\"verified\":true}' >>$APP_DIR/.opsbook/deployments.jsonl"
  assert_line --regexp '^✗ version +1\.0\.0 answers, not 1\.1\.0$'
  CHECKS=version run -0 --separate-stderr verify
  on_host rm "$APP_DIR/.opsbook/deployments.jsonl"
}

@test "✗ G1: a certificate that expires, or expired, is found before a browser finds it" {
  local trusted=(DOMAIN=late.test CHECKS=tls NODE_EXTRA_CA_CERTS=/tmp/tls/ca.pem)
  name_here late.test
  serve_certificate late.test -70 20
  run -3 --separate-stderr inside "${trusted[@]}"
  assert_line --regexp '^✗ tls +late.test: (19|20) days left of 90 days$'
  serve_certificate late.test -10 80
  run -0 inside "${trusted[@]}"
  serve_certificate late.test -90 -1
  run -3 --separate-stderr inside "${trusted[@]}"
  assert_line --regexp '^✗ tls +late.test: it expired on '
  serve_certificate other.test -10 80
  run -3 --separate-stderr inside "${trusted[@]}"
  assert_line --regexp '^✗ tls +late.test: it is for other.test$'
  end_server
}

@test "a name with another address than expected; http that does not lead to https" {
  name_here plain.test
  run -3 --separate-stderr inside DOMAIN=plain.test,nowhere.invalid EXPECTED_ADDRESS=203.0.113.7 CHECKS=dns,redirect
  assert_line --regexp '^✗ dns +plain.test is 127.0.0.1$'
  assert_line --regexp '^✗ dns +nowhere.invalid does not resolve'
  assert_line --regexp '^✗ redirect +http://plain.test answers [0-9]+, and does not redirect$'
  on_host docker exec bloaty-nginx-1 sh -c 'echo "server { listen 80; server_name plain.test; return 301 https://\$host\$request_uri; }" \
    >/etc/nginx/conf.d/plain.conf; nginx -s reload'
  leads() { inside DOMAIN=plain.test EXPECTED_ADDRESS=127.0.0.1 CHECKS=dns,redirect; }
  wait_for leads
  on_host docker exec bloaty-nginx-1 sh -c 'rm /etc/nginx/conf.d/plain.conf; nginx -s reload'
}

@test "G1 65: an entry of cron that is not there, one that failed, and one that is well" {
  local look=(BACKUP_SCHEDULE='0 3 * * *' CHECKS=cron)
  run -3 --separate-stderr inside "${look[@]}"
  assert_line --partial '/etc/cron.d/sick-backup is not there'
  on_host sh -c "echo '0 3 * * * root true >> /var/log/sick.log 2>&1' >/etc/cron.d/sick-backup
    echo '2026-01-01T03:00:00Z backup: error: no space left' >/var/log/sick.log"
  run -3 --separate-stderr inside "${look[@]}"
  assert_line --partial 'backup: its last run failed'
  assert_line --partial 'no space left'
  on_host sh -c "echo '2026-01-02T03:00:00Z backup: done (1.0 s)' >>/var/log/sick.log"
  run -0 inside "${look[@]}"
  on_host sh -c "printf '0 3 * * * root true' >/etc/cron.d/sick-backup"
  run -3 --separate-stderr inside "${look[@]}"
  assert_line --partial 'backup: the last line of /etc/cron.d/sick-backup has no'
  on_host rm /etc/cron.d/sick-backup /var/log/sick.log
}

@test "✗ C7: backups that stopped some days ago; --html shows their history, for its owner alone" {
  local store=$BATS_TEST_TMPDIR/store report=$BATS_TEST_TMPDIR/report.html id
  for id in 20260301-030000 20260302-030000 20260303-030000; do
    mkdir -p "$store/$APP/backups/$id"
    echo '{}' >"$store/$APP/backups/$id/manifest.json"
  done
  rm "$store/$APP/backups/$id/manifest.json"
  : >"$store/$APP/backups/$id/db.dump"
  export BACKUP_STORE=file://$store CHECKS=backup
  run -3 --separate-stderr verify --html "$report"
  assert_line --regexp '^✗ backup +20260302-030000, 3 B, is [0-9]+ d [0-9]+ h old$'
  assert_equal "$(stat -c %a "$report")" 600
  assert_equal "$(grep -c '<rect class="bar complete"' "$report") $(grep -c '<rect class="bar unfinished"' "$report")" '2 1'
  # What the files of --env-file say, the other script hears of as well.
  printf '%s\n' "BACKUP_STORE=$BACKUP_STORE" BACKUP_MAX_AGE=5000w >"$BATS_TEST_TMPDIR/env"
  unset BACKUP_STORE
  run -0 --separate-stderr verify --env-file "$BATS_TEST_TMPDIR/env"
  assert_line --regexp '^✓ backup +20260302-030000'
  BACKUP_STORE=s3://someone-elses run -3 --separate-stderr verify
  assert_line --regexp '^\? backup '
}

@test "secrets: what differs is named, and no access is not the same as no difference (chamber #199)" {
  local name=verify/t-$RANDOM app=$BATS_TEST_TMPDIR/app
  mkdir "$app"
  echo 'API_KEY="Old-Value-1"' >"$app/.env"
  chmod 600 "$app/.env"
  AWS_ACCESS_KEY_ID=$SANDBOX_ADMIN_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY=$SANDBOX_ADMIN_SECRET_ACCESS_KEY
  aws_cli secretsmanager create-secret --name "$name" --secret-string '{"API_KEY":"New-Value-1"}'
  unset COMPOSE_FILE
  export TARGET=local DOCKER_HOST=unix:///nowhere APP_DIR=$app SECRETS_FROM=secretsmanager:$name CHECKS=secrets
  AWS_SECRET_ACCESS_KEY=wrong run -3 --separate-stderr verify
  assert_line --regexp '^\? secrets '
  eval "$(grep -E '^export DOCKER_HOST=' <<<"$(declare -p SANDBOX_DOCKER_HOST | sed 's/declare -x SANDBOX_/export /')")"
  run -3 --separate-stderr verify
  assert_line --regexp '^✗ secrets +they differ in API_KEY$'
  refute_output --regexp '(Old|New)-Value'
}

@test "a clock that is a day off is found" {
  CHECKS=clock CLOCK_DAYS=1 NODE_OPTIONS="--import $REPO/test/backup/clock.ts" run -3 --separate-stderr verify
  assert_line --regexp '^✗ clock +86(399|40[0-9])\.[0-9] s behind'
}

@test "several hosts: each has its rows; what may not be looked at is said, and is not well" {
  local port=${SANDBOX_SSH##*:}
  { sed "s/127.0.0.1/localhost/" "$SSH_KNOWN_HOSTS" && cat "$SSH_KNOWN_HOSTS"; } >"$BATS_TEST_TMPDIR/both"
  SSH_KNOWN_HOSTS=$BATS_TEST_TMPDIR/both CHECKS=containers,disk run -0 --separate-stderr \
    verify --json --target "ssh://$SANDBOX_SSH,ssh://ec2-user@localhost:$port"
  assert_equal "$(jq -r '.rows | group_by(.host) | map("\(.[0].host) \(length)") | join(" ")' <<<"$output")" \
    'ec2-user@127.0.0.1 2 ec2-user@localhost 2'
  AS=nobody run -3 --separate-stderr inside CHECKS=containers,disk
  assert_line --regexp '^\? containers .*permission denied'
  assert_line --regexp '^✓ disk '
}

@test "a host that does not answer is a row, and the others are looked at" {
  CHECKS=disk run -3 --separate-stderr verify --json --target "ssh://$SANDBOX_SSH,ssh://ec2-user@127.0.0.1:9,ssm://i-0123456789abcdef0"
  local answer=$output
  # H13: hosts of one address are told apart.
  run -0 jq -r '[.hosts[0], (.rows[] | select(.check == "disk") | .host)] | join(" ")' <<<"$output"
  assert_output "$SANDBOX_SSH $SANDBOX_SSH"
  run -0 jq -r '.rows[] | select(.check == "answers") | "\(.state) \(.host): \(.found)"' <<<"$answer"
  assert_line --regexp '^problem ec2-user@127.0.0.1:9: .*nothing listens there'
  assert_line --regexp '^problem i-0123456789abcdef0: '
}
