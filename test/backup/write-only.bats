#!/usr/bin/env bats
# The role of the host that takes backups: it may write, and nothing that would tell or take away what is there.
bats_require_minimum_version 1.5.0

load restoring

setup() {
  world
  unset BACKUP_DATABASES
  directory
}

teardown() {
  drop_databases
}

# The policy of a role, as the page tells users to write it.
documented() {
  "$NODE" -e '
    const page = require("node:fs").readFileSync(process.argv[1], "utf8");
    const section = page.split(/^(?=## )/m).find((text) => text.startsWith("## Who needs what"));
    const [, ...parts] = section.split(new RegExp(`\\*\\*${process.argv[2]}\\*\\*`));
    console.log(JSON.stringify(JSON.parse(/```json\n([^]*?)```/.exec(parts[0])[1])))' "$REPO/docs/backup.md" "$1"
}

compact() {
  "$NODE" -p 'JSON.stringify(JSON.parse(require("node:fs").readFileSync(process.argv[1], "utf8")))' "$1"
}

@test "the policies of docs/backup.md are those that the tests run under" {
  local role
  for role in writer pruner reader; do
    assert_equal "$(documented "$role")" "$(compact "$REPO/test/sandbox/cloud/policies/backup-$role.json")"
  done
}

@test "the writer may store and list, and is refused to read, to look at and to delete" {
  local key
  opsbook backup
  key=$(keys | grep -m 1 manifest)
  run -0 aws_on_host s3api list-objects-v2 --bucket bloaty-backups-x7 --prefix "$APP/" --query 'length(Contents)'
  run ! aws_on_host s3api get-object --bucket bloaty-backups-x7 --key "$key" /dev/null
  assert_output --partial 'AccessDenied'
  run ! aws_on_host s3api head-object --bucket bloaty-backups-x7 --key "$key"
  assert_output --partial '403'
  run ! aws_on_host s3api delete-object --bucket bloaty-backups-x7 --key "$key"
  assert_output --partial 'AccessDenied'
  run ! aws_on_host s3api list-objects-v2 --bucket chitram-backups-x7
  assert_equal "$(keys | grep -c manifest)" 1
}

@test "it takes a second backup beside the first, and is refused to restore, verify and drill in one line" {
  opsbook backup
  local before
  before=$(files_of)
  later 1 opsbook backup
  local step
  for step in "restore --yes" verify drill; do
    run -1 --separate-stderr opsbook $step
    assert_error 'GetObject s3://.*: refused, these credentials may not read the store. Next: run it with the credentials of a reader'
  done
  assert_equal "$(files_of)" "$before"
}

@test "the reader may not write, and the pruner may not read" {
  run -1 --separate-stderr as_reader opsbook backup
  assert_error 'PutObject s3://.*AccessDenied'
  opsbook backup
  run -1 --separate-stderr as_pruner opsbook verify
  assert_error 'GetObject s3://.*: refused'
}

@test "A4: verify warns of a bucket in which a writer can overwrite backups for good" {
  opsbook backup
  run -0 --separate-stderr as_admin opsbook verify
  [[ $stderr != *'keeps no versions'* ]]
  local bucket=unversioned-x7-$RANDOM
  aws_cli s3api create-bucket --bucket "$bucket" --create-bucket-configuration "LocationConstraint=$AWS_REGION" >/dev/null
  export BACKUP_STORE=s3://$bucket/
  as_admin opsbook backup
  run -0 --separate-stderr as_admin opsbook verify
  aws_cli s3 rb --force "s3://$bucket" >/dev/null
  [[ $stderr == *"warning: the bucket of s3://$bucket/$APP keeps no versions"* ]]
}
