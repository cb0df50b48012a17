#!/usr/bin/env bats
# User data: a machine that sets itself up at its first boot, from the same items as a set-up over ssh. Debian as on EC2;
# Amazon Linux cannot be had everywhere, its commands are compared in test/lib/server/setup-items.test.ts.
bats_require_minimum_version 1.5.0
load setup

# By this label the sandbox's SSM knows the host for an instance of EC2.
INSTANCE=i-0123456789abcdef0

setup_file() {
  local BATS_TEST_TMPDIR=$BATS_FILE_TMPDIR
  setup_up
  bare_host ec2 --label "opsbook.instance=$INSTANCE" --label 'opsbook.instance-tags={"Name":"bloaty-prod"}'
  bring_node
  reach root
  settings
  opsbook server/setup-ec2 --user-data debian-13 >"$BATS_FILE_TMPDIR/user-data"
  # As cloud-init runs it: by root, with no terminal, in an environment of its own.
  on_machine cp "$BATS_FILE_TMPDIR/user-data" "$BARE:/root/user-data"
  on_bare env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin sh /root/user-data >"$BATS_FILE_TMPDIR/boot" 2>&1 </dev/null ||
    { tail -20 "$BATS_FILE_TMPDIR/boot" >&2; return 1; }
}

teardown_file() { remove_bare; }

setup() {
  reach root
  settings
}

settings() { app APP_DIRECTORIES=uploads BACKUP_SCHEDULE='0 3 * * *' OPSBOOK_REPOSITORY="file://$REPO"; }

@test "after its first boot a machine is as a set-up makes it" {
  run -0 grep -c '^+ ' "$BATS_FILE_TMPDIR/boot"
  ((output > 15))
  run -0 opsbook server/setup-ec2
  assert_unchanged
}

@test "over SSM, without a key or an open port: what is missing is made, and then nothing" {
  ENV+=(TARGET=ssm://tag:Name=bloaty-prod "AWS_ENDPOINT_URL=$AWS_ENDPOINT_URL" "AWS_REGION=$AWS_REGION"
    "AWS_ACCESS_KEY_ID=$SANDBOX_OPERATOR_ACCESS_KEY_ID" "AWS_SECRET_ACCESS_KEY=$SANDBOX_OPERATOR_SECRET_ACCESS_KEY")
  on_bare rm /etc/cron.d/bloaty-backup
  run -0 opsbook server/setup-ec2
  assert_line --regexp '\+ /etc/cron.d/bloaty-backup \(0 3 \* \* \*, as ops\): done'
  assert_line --regexp '[0-9]+ items: [0-9]+ unchanged, 1 created, 0 changed'
  run -0 opsbook server/setup-ec2
  assert_unchanged
}

@test "user data that runs again changes nothing" {
  run -0 on_bare sh /root/user-data
  assert_line --partial '= Docker runs'
  refute_output --partial '+ Docker'
}

@test "an EC2 instance has no firewall of its own: its security group is one" {
  run ! on_bare sh -c 'command -v ufw'
  run ! on_bare test -e /etc/ssh/sshd_config.d/00-opsbook.conf
}

@test "user data needs to know where opsbook is to be fetched from" {
  ENV+=(OPSBOOK_REPOSITORY=)
  run -2 --separate-stderr opsbook server/setup-ec2 --user-data amzn-2023
  assert_regex "$stderr" 'OPSBOOK_REPOSITORY is not set, and a machine at its first boot has no opsbook'
  run -2 opsbook server/setup-ec2 --user-data windows
  assert_output --partial 'is not one of amzn-2023, ubuntu-22.04, ubuntu-24.04, debian-12, debian-13'
}

@test "on the machine itself: the same script, without ssh" {
  run -0 on_bare env -i PATH=/opt/opsbook/node_modules/.bin:/usr/sbin:/usr/bin:/sbin:/bin APP=bloaty APP_DIR=/opt/bloaty APP_USER=ops \
    APP_DIRECTORIES=uploads BACKUP_SCHEDULE='0 3 * * *' tsx /opt/opsbook/scripts/server/setup-ec2.ts
  assert_unchanged
}

@test "where the login has no key, password logins stay, and that is said" {
  # A droplet that somebody entered by its console: nobody has a key.
  on_bare sh -c 'mkdir -p /root/kept && mv /root/.ssh/authorized_keys /root/kept/'
  on_bare sh -c 'echo "PasswordAuthentication yes" >/etc/ssh/sshd_config.d/50-cloud-init.conf'
  run on_bare env -i PATH=/opt/opsbook/node_modules/.bin:/usr/sbin:/usr/bin:/sbin:/bin APP=bloaty APP_DIR=/opt/bloaty APP_USER=ops \
    APP_DIRECTORIES=uploads BACKUP_SCHEDULE='0 3 * * *' tsx /opt/opsbook/scripts/server/setup-droplet.ts --dry-run
  on_bare mv /root/kept/authorized_keys /root/.ssh/
  assert_success
  assert_line --regexp 'warning: ! sshd takes keys, no passwords: none of ops, root has a key: password logins stay, so that nobody is locked out'
  assert_line --regexp "warning: ! the SSH keys of root are ops's too: root has no ~/.ssh/authorized_keys to copy; give ops one"
  assert_line --regexp '[0-9]+ items: .*, 2 left out'
}

@test "all that speaks against a set-up is said before anything is changed" {
  on_bare sh -c 'printf "deb http://127.0.0.1:9/debian trixie main\n" >/etc/apt/sources.list.d/gone.list'
  ENV+=(OPSBOOK_REPOSITORY= OPSBOOK_DIR=/nowhere)
  run opsbook server/setup-ec2
  on_bare rm /etc/apt/sources.list.d/gone.list
  assert_failure 1
  assert_line --regexp 'error: .*opsbook is not there, and OPSBOOK_REPOSITORY is not set\. Next: '
  assert_line --regexp 'error: .*its package sources do not answer: cannot reach http://127\.0\.0\.1:9/debian'
  refute_output --regexp ' [=+~] '
}

@test "a user who cannot become root is told so" {
  on_bare sh -c 'id plain >/dev/null 2>&1 || useradd -m plain; install -d -o plain -m 700 /home/plain/.ssh
    install -o plain -m 600 /root/.ssh/authorized_keys /home/plain/.ssh/'
  reach plain
  run -1 opsbook server/setup-ec2
  assert_line --regexp 'this user cannot become root: sudo: .*\. Next: log in as root, or as a user whose sudo asks for no password'
}

@test "a schedule that is no schedule, and a user who is no user, are refused before the host is asked" {
  ENV+=(BACKUP_SCHEDULE='0 3 * *' APP_USER='ops; id' TARGET=ssh://nobody@127.0.0.1:9)
  run -2 opsbook server/setup-ec2
  assert_line --regexp 'BACKUP_SCHEDULE=0 3 \* \*: is not five fields of cron'
  assert_line --regexp 'APP_USER=ops; id: is not the name of a user'
}
