#!/usr/bin/env bats
# A bare droplet becomes one that an app can run on, over ssh, from a laptop; as it is found by those who use it then.
bats_require_minimum_version 1.5.0
load setup

setup_file() {
  local BATS_TEST_TMPDIR=$BATS_FILE_TMPDIR
  setup_up
  bare_host bloaty --publish 127.0.0.1::2222
  bring_node
  app_repository
  # What an image for clouds brings with it.
  echo 'PasswordAuthentication yes' | on_bare tee /etc/ssh/sshd_config.d/50-cloud-init.conf >/dev/null
  reach root
  settings
  # The first run dies while Docker is being installed, and apt with it, as when the machine is reset; the second goes on.
  start_opsbook server/setup-droplet
  wait_for_minutes installing_docker_or_gone
  installing_docker || { cat "$ERR" >&2; return 1; }
  on_bare pkill -9 -x 'apt-get|dpkg|dpkg-deb'
  kill -9 "$PID" 2>/dev/null || true
  on_bare dpkg-query -W -f '${Status}' docker.io >"$BATS_FILE_TMPDIR/half"
  cp "$ERR" "$BATS_FILE_TMPDIR/first"
  set_up "$BATS_FILE_TMPDIR/second"
  app_files bloaty /opt/bloaty
  # A second app on the same host, whose directory crontab would cut at its %.
  ENV+=(APP=cent "APP_DIR=/opt/50% off" APP_REPOSITORY=)
  set_up "$BATS_FILE_TMPDIR/cent"
  app_files cent '/opt/50% off'
}

teardown_file() { remove_bare; }

setup() {
  reach root
  settings
}

teardown() { end_started; }

settings() {
  app APP_DIRECTORIES=uploads DOMAIN=bloaty.test BACKUP_SCHEDULE='* * * * *' APP_REPOSITORY=file:///srv/app.git \
    OPSBOOK_REPOSITORY="file://$REPO"
}

set_up() { opsbook server/setup-droplet >"$1" 2>&1 || { cat "$1" >&2; return 1; }; }

installing_docker_or_gone() { installing_docker || gone "$PID"; }
installing_docker() { on_bare sh -c '[ -e /var/lib/dpkg/info/docker.io.list ]'; }

# What a backup takes to run from cron: settings, and something to back up.
app_files() {
  on_bare runuser -u ops -- sh -c 'umask 077; cat >"$1/.env"; echo meal >"$1/uploads/meal.jpg"' sh "$2" <<ENV
APP=$1
APP_DIR="$2"
BACKUP_STORE=file:///home/ops/backups
BACKUP_DIRECTORIES=uploads
ENV
}

@test "an interrupted set-up continues, also with a half-installed Docker: what is done stays, the rest is made" {
  run -0 cat "$BATS_FILE_TMPDIR/first"
  assert_line --regexp '\+ packages up to date: done'
  refute_output --partial 'items:'
  run ! grep -qx 'install ok installed' "$BATS_FILE_TMPDIR/half"
  run -0 cat "$BATS_FILE_TMPDIR/second"
  assert_line --partial '= packages up to date'
  assert_line --partial '= tools that the scripts use'
  assert_line --regexp '\+ Docker \(docker.io docker-cli docker-compose docker-buildx iptables\): done'
  assert_line --regexp '[0-9]+ items: [0-9]+ unchanged, [0-9]+ created, [0-9]+ changed'
}

@test "a second run changes nothing, and says so" {
  run -0 opsbook server/setup-droplet
  assert_unchanged
  refute_output --regexp ' [+~!] '
}

@test "the app's user runs containers, and Compose as a plugin (G1: docker-compose is not on PATH)" {
  greeter
  reach_ssh ops
  run -0 ssh_to docker run --rm greeter:1 perl -e 'print "ran\n"'
  assert_output ran
  run -0 ssh_to env -i PATH=/usr/bin:/bin docker compose version --short
  assert_output --regexp '^v?2\.'
  run -0 ssh_to docker buildx version
  run ! on_bare grep -rn 'docker-compose ' /etc/cron.d /etc/systemd/system/bloaty.service
}

@test "the repository is cloned into a directory that holds uploads already (G1: clone before and after set-up)" {
  run -0 on_bare stat -c '%U %n' /opt/bloaty /opt/bloaty/uploads /opt/bloaty/docker-compose.yml /opt/bloaty/.opsbook
  assert_output $'ops /opt/bloaty\nops /opt/bloaty/uploads\nops /opt/bloaty/docker-compose.yml\nops /opt/bloaty/.opsbook'
  run -0 on_bare runuser -u ops -- git -C /opt/bloaty status --short --branch
  assert_line '## trunk...origin/trunk'
}

@test "cron really runs the entry, and the log is its user's (G1: the redirection failed and the backup never started)" {
  run -0 on_bare stat -c '%a %U' /var/log/opsbook/bloaty-backup.log
  assert_output '640 ops'
  wait_for_minutes logged bloaty
  run -0 on_bare find /home/ops/backups/bloaty -name manifest.json
  assert_output --partial manifest.json
}

@test "cron runs an entry with a % in it (crontab: an unescaped one ends the command)" {
  run -0 on_bare cat /etc/cron.d/cent-backup
  assert_output --partial "'/opt/50\\% off/.env'"
  wait_for_minutes logged cent
}

logged() { on_bare grep -q 'write the manifest: done' "/var/log/opsbook/$1-backup.log"; }

@test "cron files: root's, 0644, no dot in the name, a newline at the end, PATH with opsbook's Node, and one of each (G4: crontab duplicates)" {
  run -0 on_bare sh -c 'stat -c "%a %U %n" /etc/cron.d/bloaty-*'
  assert_output $'644 root /etc/cron.d/bloaty-backup\n644 root /etc/cron.d/bloaty-renew'
  run -0 on_bare sh -c 'tail -c 1 /etc/cron.d/bloaty-backup | od -An -c; grep -c backup.ts /etc/cron.d/bloaty-backup; grep -rl backup.ts /etc/cron.d /var/spool/cron || :'
  assert_output $'  \\n\n1\n/etc/cron.d/bloaty-backup\n/etc/cron.d/cent-backup'
  run -0 on_bare grep PATH= /etc/cron.d/bloaty-backup
  assert_output 'PATH=/opt/opsbook/node_modules/.bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'
}

@test "an entry whose schedule is no longer set is removed" {
  ENV+=(PRUNE_SCHEDULE='0 5 * * 0')
  run -0 opsbook server/setup-droplet
  assert_line --regexp '\+ /etc/cron.d/bloaty-prune \(0 5 \* \* 0, as ops\): done'
  ENV+=(PRUNE_SCHEDULE=)
  run -0 opsbook server/setup-droplet
  assert_line --regexp '~ no /etc/cron.d/bloaty-prune: done'
  run ! on_bare test -e /etc/cron.d/bloaty-prune
}

@test "logrotate rotates the log, and the new one is the cron user's again" {
  on_bare sh -c 'runuser -u ops -- sh -c "echo said >>/var/log/opsbook/cent-backup.log"; logrotate -f /etc/logrotate.d/opsbook-cent'
  run -0 on_bare stat -c '%a %U' /var/log/opsbook/cent-backup.log
  assert_output '640 ops'
  on_bare test -s /var/log/opsbook/cent-backup.log.1
}

@test "certbot is there, and its timer is not beside the cron entry" {
  on_bare certbot --version
  run ! on_bare systemctl is-enabled certbot.timer
  on_bare grep -q 'renew-certificates.ts' /etc/cron.d/bloaty-renew
}

@test "a port that Docker publishes is behind the firewall too (G4: published ports bypass ufw), and a lost rule comes back" {
  app_up
  run ! from_outside 8080
  # It is the firewall that keeps it: on the host itself it answers, and without the rules outside as well.
  run -0 on_bare bash -c 'exec 3<>/dev/tcp/127.0.0.1/8080 && head -1 <&3'
  on_bare iptables -F DOCKER-USER
  run -0 from_outside 8080
  run -0 opsbook server/setup-droplet
  assert_line --regexp '~ ufw lets in 22/tcp, 80/tcp, 443/tcp, 443/udp, and nothing else: done'
  run ! from_outside 8080
  run -0 from_outside 80
}

@test "containers reach the outside through the firewall" {
  greeter
  local peer
  peer=$(on_machine inspect --format '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' "$SANDBOX_DROPLET_CONTAINER")
  run -0 on_bare docker run --rm greeter:1 perl -MIO::Socket::INET -e 'print scalar IO::Socket::INET->new(shift . ":22")->getline' "$peer"
  assert_output --partial SSH-2.0
}

@test "stopping the app's unit keeps its containers (G1: ExecStop down removed them at shutdown)" {
  app_up
  local before
  before=$(on_bare docker ps -q)
  on_bare systemctl stop bloaty
  run -0 on_bare docker ps -a --format '{{.State}}'
  assert_output exited
  on_bare systemctl start bloaty
  assert_equal "$(on_bare docker ps -q)" "$before"
}

@test "passwords do not open sshd, whatever the image's own drop-in says; keys do" {
  run -0 on_bare sh -c 'sshd -T | grep -E "^(passwordauthentication|kbdinteractiveauthentication|permitrootlogin) "'
  assert_line 'passwordauthentication no'
  assert_line 'kbdinteractiveauthentication no'
  assert_line 'permitrootlogin without-password'
  reach_ssh ops
  run -255 ssh_to -o PreferredAuthentications=password,keyboard-interactive true
  assert_output --partial 'Permission denied (publickey)'
  run -0 ssh_to sudo -n id -u
  assert_output 0
}

@test "the sudo user goes on with the set-up by itself" {
  reach ops
  run -0 opsbook server/setup-droplet --dry-run
  refute_output --partial 'would: '
}

@test "fail2ban watches sshd, and bans by ufw" {
  on_bare fail2ban-client set sshd banip 192.0.2.7
  wait_for on_bare sh -c 'ufw status | grep -q "192.0.2.7"'
  on_bare fail2ban-client set sshd unbanip 192.0.2.7
}

@test "security updates come by themselves" {
  run -0 on_bare apt-config dump APT::Periodic
  assert_line 'APT::Periodic::Update-Package-Lists "1";'
  assert_line 'APT::Periodic::Unattended-Upgrade "1";'
}

@test "while another process holds the lock of apt, it says who, waits, and goes on" {
  on_bare dpkg --remove jq
  on_bare sh -c 'perl -MFcntl -e "open F, q(>>/var/lib/dpkg/lock-frontend); \$lock = pack(q(s s l! l! i), F_WRLCK, 0, 0, 0, 0); fcntl F, F_SETLK, \$lock or die; sleep 1 until -e q(/tmp/let-go)" </dev/null >/dev/null 2>&1 & echo $! >/tmp/holder'
  start_opsbook server/setup-droplet
  wait_for_minutes grep -q 'waiting for the lock of apt' "$ERR"
  run -0 cat "$ERR"
  assert_line --partial "waiting for the lock of apt (/var/lib/dpkg/lock-frontend), held by process $(on_bare cat /tmp/holder) (perl)"
  on_bare touch /tmp/let-go
  wait_for_minutes gone "$PID"
  assert_ends 0
  on_bare jq --version
}

# The way in. What follows sets the host up again, whole.
@test "H1: where sshd listens by ListenAddress, ssh.socket or SSHD_OPTS is open when ufw is on" {
  for way in ListenAddress ssh.socket SSHD_OPTS; do
    way_in
    sshd_moves "$way"
    run -0 opsbook server/setup-droplet
    assert_line --regexp '[+~] ufw lets in (22/tcp, )?2222/tcp, 80/tcp, 443/tcp, 443/udp, and nothing else: done'
    run -0 on_bare ufw status
    assert_line --index 0 'Status: active'
    run -0 logs_in root 2222
  done
}

@test "H1: user data opens the port that the image's sshd listens on" {
  way_in
  opsbook server/setup-droplet --user-data debian-13 >"$BATS_TEST_TMPDIR/user-data"
  sshd_moves Port
  on_bare env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin sh -s <"$BATS_TEST_TMPDIR/user-data"
  run -0 on_bare ufw status
  assert_line --index 0 'Status: active'
  run -0 logs_in root 2222
  run ! on_bare systemctl cat opsbook-undo-firewall.timer
}

@test "H1: where no new login gets in any more, what shut it out is undone, and that is said" {
  way_in
  on_bare ufw prepend deny from "$(on_machine network inspect --format '{{(index .IPAM.Config 0).Subnet}}' "$PREFIX")"
  run opsbook server/setup-droplet
  on_bare sh -c 'yes | ufw delete 1'
  assert_failure 1
  assert_line --regexp 'error: .*ufw lets in .*: a new login failed: .* it was undone\. Next: '
  run -0 on_bare ufw status
  assert_line 'Status: inactive'
  run -0 logs_in root
  run ! on_bare systemctl cat opsbook-undo-firewall.timer
}

@test "H1: a run that is killed before its new login: the timer undoes it, and the next run does not call it done" {
  way_in
  # ufw that hangs once it is on.
  on_bare sh -c 'cat >/usr/local/sbin/ufw; chmod 755 /usr/local/sbin/ufw' <<'SH'
#!/bin/sh
[ "$1" != reload ] || { touch /tmp/shut; sleep infinity; }
exec /usr/sbin/ufw "$@"
SH
  start_opsbook server/setup-droplet
  wait_for_minutes on_bare test -e /tmp/shut
  kill -9 "$PID"
  on_bare sh -c 'rm -f /tmp/shut /usr/local/sbin/ufw; pkill -f "[s]leep infinity"'
  on_bare systemctl is-active opsbook-undo-firewall.timer
  run -0 opsbook server/setup-droplet --dry-run
  assert_line --partial 'would: ~ ufw lets in'
  # Its time has come.
  on_bare systemctl start opsbook-undo-firewall.service
  run -0 on_bare ufw status
  assert_line 'Status: inactive'
  run -0 logs_in root
}

@test "H2: keys of a file without a last line break stay what they are" {
  way_in
  ssh-keygen -q -t ed25519 -N '' -C old -f "$BATS_TEST_TMPDIR/old"
  on_bare cp -p /home/ops/.ssh/authorized_keys /tmp/authorized_keys
  printf %s "$(cat "$BATS_TEST_TMPDIR/old.pub")" | on_bare sh -c 'cat >/home/ops/.ssh/authorized_keys'
  run -0 opsbook server/setup-droplet
  assert_line --partial "~ the SSH keys of root are ops's too: done"
  run -0 logs_in ops
  SSH_KEY=$BATS_TEST_TMPDIR/old run -0 logs_in ops
  run -0 on_bare stat -c '%a %U:%G' /home/ops/.ssh/authorized_keys
  assert_output '600 ops:ops'
  # A link would lead root's hand elsewhere.
  on_bare sh -c 'cd /home/ops/.ssh; echo mine >/root/target; ln -sf /root/target authorized_keys'
  run opsbook server/setup-droplet
  on_bare mv /tmp/authorized_keys /home/ops/.ssh/authorized_keys
  assert_failure 1
  assert_output --partial '/home/ops/.ssh/authorized_keys is a symbolic link'
  run -0 on_bare cat /root/target
  assert_output mine
}

@test "H2: passwords stay where sshd lets none in of those who have a key" {
  way_in
  printf 'AllowUsers alice\nPasswordAuthentication yes\n' | on_bare tee /etc/ssh/sshd_config.d/10-test.conf
  run -0 at_console
  assert_line --regexp 'warning: ! sshd takes keys, no passwords: '
  run -0 on_bare sshd -T
  assert_line 'passwordauthentication yes'
}

@test "H2: who gets in by a key alone, by the lists of sshd as sshd reads them" {
  way_in
  "$NODE" --input-type=module -e "import { keysOnly } from '$REPO/lib/server/setup-sshd.ts'
    import { line } from '$REPO/lib/server/converge.ts'
    console.log(line(keysOnly(['ops', 'root'])[0].only[1].when))" >"$BATS_TEST_TMPDIR/when"
  by_key() {
    printf '%b\n' "$1" | on_bare tee /etc/ssh/sshd_config.d/10-test.conf >/dev/null
    on_bare sh -s <"$BATS_TEST_TMPDIR/when"
  }
  for lines in 'AllowUsers alice op?@127.0.0.0/8' 'AllowGroups docker' 'AuthenticationMethods publickey,password publickey' 'PermitRootLogin no'; do
    run -0 by_key "$lines"
  done
  for lines in 'AllowUsers alice' 'DenyGroups docker\nPermitRootLogin no' 'AuthenticationMethods publickey,password' 'Match User *\nPubkeyAuthentication no'; do
    run -1 by_key "$lines"
  done
}

@test "H2: a login of root that was forbidden stays forbidden, also where an older set-up opened it" {
  way_in ops
  on_bare sh -c 'printf "PermitRootLogin no\nMatch User nobody,alice\nPasswordAuthentication yes\n" >/etc/ssh/sshd_config.d/10-test.conf
    id alice || useradd -m -s /bin/bash alice
    printf "PasswordAuthentication no\nPermitRootLogin prohibit-password\n" >/etc/ssh/sshd_config.d/00-opsbook.conf; systemctl restart ssh'
  run -0 opsbook server/setup-droplet
  assert_line --partial '~ sshd takes keys, no passwords: done'
  assert_line --partial 'warning: ! no Match block of sshd lets somebody in by password: one does, and stays'
  run -0 on_bare sshd -T
  assert_line 'permitrootlogin no'
  assert_line 'passwordauthentication no'
  run -0 opsbook server/setup-droplet
  assert_unchanged
}

@test "H1: sshd is not made to leave the port by which one comes: a line that no reload has met yet" {
  way_in
  on_bare sh -c 'printf "Port 2222\nPasswordAuthentication yes\n" >/etc/ssh/sshd_config.d/05-test.conf'
  run -0 opsbook server/setup-droplet
  assert_line --regexp 'warning: ! sshd takes keys, no passwords: sshd listens on a port that its files do not name'
  run -0 on_bare ufw status
  assert_line --regexp '^22/tcp +ALLOW'
  run -0 logs_in root
}

@test "H1: one who failed to log in before fail2ban came, and then did, is not banned by it" {
  way_in
  on_bare sh -c 'systemctl stop fail2ban; rm -f /var/lib/fail2ban/*.sqlite3 /etc/fail2ban/jail.d/opsbook.local'
  local i
  for i in {1..6}; do run ! logs_in "nobody$i"; done
  run -0 opsbook server/setup-droplet
  assert_line --regexp 'fail2ban watches sshd: done'
  run -0 on_bare fail2ban-client status sshd
  assert_output --regexp 'Banned IP list:[[:space:]]*$'
  run -0 logs_in root
}

@test "the commands of docs/servers.md, as they stand there" {
  local blocks=$BATS_TEST_TMPDIR/blocks.sh
  sed '1,/^## Setting a machine up$/d; /^## /,$d' "$REPO/docs/servers.md" |
    awk '/^```sh$/ { on = 1; next } /^```$/ { on = 0 } on' >"$blocks"
  run -0 grep -c '^npx tsx scripts/server/setup-droplet.ts' "$blocks"
  assert_output 4
  cd "$BATS_TEST_TMPDIR"
  ln -s "$REPO/scripts" "$REPO/lib" "$REPO/node_modules" "$REPO/package.json" .
  # The host and the repository of the test in place of those of the page; the environment wins over its file.
  local settings=()
  for setting in "${ENV[@]}"; do
    case $setting in PATH=* | HOME=* | GIT_DIR=* | TARGET=* | SSH_* | OPSBOOK_REPOSITORY=*) settings+=("$setting") ;; esac
  done
  run -0 env -i "${settings[@]}" bash -e "$blocks"
  assert_line --regexp 'would: \+ user deploy|= user deploy'
  assert_line --regexp '\+ /etc/cron.d/chitram-backup \(0 2 \* \* \*, as deploy\): done'
  assert_unchanged
  sh -n user-data.sh
}

@test "after a boot the app runs, and is behind the firewall" {
  app_up
  on_machine restart "$BARE" >/dev/null
  wait_for_minutes booted
  wait_for_minutes answers 80
  run ! from_outside 8080
}
