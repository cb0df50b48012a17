#!/usr/bin/env bats
# A backup as cron runs it: by a real cron on the host, as the app's user, with nothing in its environment.
bats_require_minimum_version 1.5.0

load faults

setup_file() {
  # The entry runs at the next full minute, beside the other tests.
  local BATS_TEST_TMPDIR=$BATS_FILE_TMPDIR
  world
  export CRON_APP=$APP
  install_app
  on_host sh -c "umask 022; cat >/etc/cron.d/$APP" <<CRON
PATH=$CRON_PATH
* * * * * ec2-user $TSX_BIN $REPO/scripts/backup/backup.ts --env-file $HOME_OF_APP/env >> $HOME_OF_APP/log 2>&1
CRON
}

teardown_file() {
  on_host rm -rf "/etc/cron.d/$CRON_APP" "/home/ec2-user/$CRON_APP"
}

setup() {
  world
  install_app
}

teardown() {
  on_host rm -rf "/home/ec2-user/$APP"
}

TSX_BIN=$REPO/node_modules/.bin/tsx
# What cron gives, with the Node that the scripts run on before it.
CRON_PATH=$REPO/node_modules/.bin:/usr/bin:/bin

# On the host: a directory of the app's user with settings for its eyes only, and a log that it may write.
install_app() {
  HOME_OF_APP=/home/ec2-user/$APP
  on_host runuser -u ec2-user -- sh -c "umask 077; mkdir '$HOME_OF_APP'; cat >'$HOME_OF_APP/env'; : >'$HOME_OF_APP/log'" <<ENV
APP=$APP
APP_DIR=$HOME_OF_APP
COMPOSE_FILE=$COMPOSE_FILE
AWS_REGION=$AWS_REGION
AWS_ENDPOINT_URL=http://aws:5000
AWS_ACCESS_KEY_ID=$AWS_ACCESS_KEY_ID
AWS_SECRET_ACCESS_KEY=$AWS_SECRET_ACCESS_KEY
BACKUP_STORE=$BACKUP_STORE
BACKUP_DATABASES='compose://db/bloaty?user=postgres'
ENV
}

# Runs a script on the host as cron would, with more of an environment where that is given (NAME=value).
as_cron() {
  local step=$1
  shift
  on_host runuser -u ec2-user -- env -i "PATH=$CRON_PATH" HOME=/ SHELL=/bin/sh LOGNAME=ec2-user "${MORE[@]}" \
    "$TSX_BIN" "$REPO/scripts/backup/$step.ts" --env-file "$HOME_OF_APP/env" "$@" </dev/null
}

@test "row 7: in cron's environment a backup works, and says one line a step, without colour" {
  MORE=()
  run -0 --separate-stderr as_cron backup
  [[ $output =~ ^[0-9]{8}-[0-9]{6}$ ]]
  run ! grep -vE '^[0-9-]+T[0-9:]+Z backup: ' <<<"$stderr"
  run ! grep -q $'\e' <<<"$stderr"
  run -0 as_cron list --max-age 26h
}

@test "row 7: list --max-age exits 3 when the newest backup is older, and when there is none" {
  MORE=()
  run -3 --separate-stderr as_cron list --max-age 26h
  assert_error 'no complete backup in s3://bloaty-backups-x7/'
  run -0 as_cron backup
  run -3 --separate-stderr as_cron list --max-age 0m
  assert_error 'the newest complete backup, [0-9-]+, is .* old; the limit is 0\.0 s\. Next: check the log of the last backup run'
}

@test "row 7: without Docker on PATH a backup says so" {
  # All that a script needs but Docker.
  on_host runuser -u ec2-user -- sh -c "mkdir $HOME_OF_APP/bin && cd $HOME_OF_APP/bin && ln -s /bin/sh /bin/cat /usr/bin/flock /usr/bin/env ."
  MORE=("PATH=$REPO/node_modules/.bin:$HOME_OF_APP/bin")
  run -1 --separate-stderr as_cron backup
  assert_error 'docker: command not found\. Next: install Docker, or put it on PATH'
}

@test "row 7: without the compose plugin a backup says so" {
  # A user whose Docker finds no plugin, as with one that only root installed for itself.
  run -1 --separate-stderr without_plugins
  assert_error "docker knows no compose\. Next: install Docker's compose plugin"
}

# Hides the plugins from what runs, in a mount namespace of its own.
without_plugins() {
  on_host unshare --mount sh -c "mount -t tmpfs none /usr/libexec/docker/cli-plugins && exec \"\$@\"" hide \
    runuser -u ec2-user -- env -i "PATH=$CRON_PATH" HOME=/ SHELL=/bin/sh \
    "$TSX_BIN" "$REPO/scripts/backup/backup.ts" --env-file "$HOME_OF_APP/env" </dev/null
}

@test "row 7: a user who may not speak to Docker is told so" {
  on_host chown -R nobody "$HOME_OF_APP"
  on_host sh -c "echo 'services: { db: { image: any } }' >$HOME_OF_APP/compose.yml; echo COMPOSE_FILE=compose.yml >>$HOME_OF_APP/env"
  on_host chmod 711 /home/ec2-user
  run -1 --separate-stderr on_host setpriv --reuid=nobody --regid=nogroup --clear-groups env -i "PATH=$CRON_PATH" HOME=/ \
    "$TSX_BIN" "$REPO/scripts/backup/backup.ts" --env-file "$HOME_OF_APP/env"
  on_host chmod 700 /home/ec2-user
  assert_error 'this user may not speak to Docker\. Next: run it as root or as a user of the group docker'
}

@test "row 7: without Node on PATH nothing is silent" {
  MORE=(PATH=/usr/bin:/bin)
  run -127 --separate-stderr as_cron backup
  [[ $stderr == *"node"*"No such file or directory"* ]]
}

logged() {
  on_host grep -q "backup: backup .*, " "/home/ec2-user/$CRON_APP/log"
}

@test "row 7: a real cron takes the backup, and its log is a line a step" {
  for _ in 1 2 3 4; do ! wait_for logged 2>/dev/null || break; done
  run -0 on_host cat "/home/ec2-user/$CRON_APP/log"
  [[ $output == *"backup: postgres bloaty: "*"backup: write the manifest: done"* ]]
  [[ $output != *error* ]]
  APP=$CRON_APP run -0 keys
  assert_output --regexp "^$CRON_APP/backups/.*/manifest.json"
}
