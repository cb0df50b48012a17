#!/usr/bin/env bats
# A bucket becomes like a directory: in the order that open pages need, with headers that are right for a year.
bats_require_minimum_version 1.5.0

load cloud

setup_file() {
  export BUCKET=web-$RANDOM$RANDOM
  aws_cli s3 mb "s3://$BUCKET" >/dev/null
}

teardown_file() {
  aws_cli s3 rb --force "s3://$BUCKET" >/dev/null
}

setup() {
  as_admin
  FOLDER=t$BATS_TEST_NUMBER
  ENV+=(APP=codemonet APP_DIR=/opt/codemonet ASSETS_DIRECTORY=dist ASSETS_BUCKET="s3://$BUCKET/$FOLDER/")
  cd "$BATS_TEST_TMPDIR" || return
  mkdir -p dist/assets dist/.well-known
  echo '<script src=/assets/index-BTkO3vlH.js>' >dist/index.html
  echo 'one()' >dist/assets/index-BTkO3vlH.js
  echo 'a{}' >dist/assets/index-Cd5fGhIj.css
  echo 1.2.0 >dist/version.txt
  echo 'Contact: a@example.org' >dist/.well-known/security.txt
  printf '\x89PNG' >'dist/über uns & so.png'
}

teardown() {
  end_started
}

sync() { opsbook deploy/sync-assets "$@"; }

# What is in the test's folder of the bucket, or beside it: keys, headers KEY…, get KEY, put KEY TEXT.
s3_of() {
  AWS_ACCESS_KEY_ID=$SANDBOX_ADMIN_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY=$SANDBOX_ADMIN_SECRET_ACCESS_KEY \
    "$NODE" "$BATS_TEST_DIRNAME/s3.ts" "$BUCKET" "$@"
}

s3() { s3_of "$FOLDER/" "$@"; }

@test "every file arrives, byte by byte, under its name" {
  run -0 --separate-stderr sync --json
  assert_output "{\"bucket\":\"s3://$BUCKET/$FOLDER/\",\"uploaded\":6,\"unchanged\":0,\"deleted\":0}"
  assert_equal "$(s3 get 'über uns & so.png')" $'\x89PNG'
  assert_equal "$(s3 get version.txt)" 1.2.0
  assert_equal "$(s3 keys | wc -l)" 6
}

@test "hashed names may be kept for a year, everything else is asked about" {
  run -0 sync
  run -0 s3 headers assets/index-BTkO3vlH.js assets/index-Cd5fGhIj.css index.html version.txt 'über uns & so.png'
  assert_output "assets/index-BTkO3vlH.js: text/javascript; charset=utf-8; public, max-age=31536000, immutable
assets/index-Cd5fGhIj.css: text/css; charset=utf-8; public, max-age=31536000, immutable
index.html: text/html; charset=utf-8; no-cache
version.txt: text/plain; charset=utf-8; no-cache
über uns & so.png: image/png; no-cache"
}

@test "what is unchanged is not sent again, what changed is" {
  run -0 sync
  echo 1.3.0 >dist/version.txt
  run -0 --separate-stderr sync --json
  assert_regex "$output" '"uploaded":1,"unchanged":5,"deleted":0'
  assert_equal "$(s3 get version.txt)" 1.3.0
  run -0 --separate-stderr sync --json
  assert_regex "$output" '"uploaded":0,"unchanged":6,"deleted":0'
}

@test "an object with our bytes under other headers, from aws s3 sync, is sent again" {
  s3 put index.html '<script src=/assets/index-BTkO3vlH.js>'
  run -0 --separate-stderr sync --json
  assert_regex "$output" '"uploaded":6,"unchanged":0'
  assert_equal "$(s3 headers index.html)" 'index.html: text/html; charset=utf-8; no-cache'
}

@test "the hashed files of the last build go when those of the next have come" {
  run -0 sync
  mv dist/assets/index-BTkO3vlH.js dist/assets/index-Zx81abcD.js
  run -0 --separate-stderr sync --json
  assert_regex "$output" '"uploaded":1,"unchanged":5,"deleted":1'
  run -0 s3 keys
  assert_output --partial index-Zx81abcD.js
  refute_output --partial index-BTkO3vlH.js
}

# The requests of a run that write, in their order: put and delete, by what a proxy in front of S3 saw.
watched() {
  coproc PROXY { exec "$NODE" "$BATS_TEST_DIRNAME/s3-witness.ts" "$AWS_ENDPOINT_URL" "$BATS_TEST_TMPDIR/seen" "$@" 3>&-; }
  STARTED+=("$PROXY_PID")
  local url
  read -r url <&"${PROXY[0]}"
  ENV+=(AWS_ENDPOINT_URL="$url" AWS_MAX_ATTEMPTS=1)
}

@test "HTML goes after all that it names, the version after HTML, and deletions last" {
  run -0 sync
  mv dist/assets/index-BTkO3vlH.js dist/assets/index-Zx81abcD.js
  echo 'changed' | tee dist/index.html dist/version.txt dist/about.html dist/robots.txt
  watched
  run -0 sync
  assert_equal "$(sed -n "s|^PUT /$BUCKET/$FOLDER/\([^?]*\).*|\1|p" seen | sort | xargs)" \
    "about.html assets/index-Zx81abcD.js index.html robots.txt version.txt"
  assert_equal "$(sed -n 's|.*\.html.*|html|p; s|.*version.txt.*|version|p; s|^PUT.*robots.*|file|p; s|^PUT.*Zx8.*|file|p; s|^POST.*delete.*|delete|p' \
    <(grep -v '^HEAD' seen) | uniq | xargs)" "file html version delete"
}

@test "an upload that fails stops before the pages, and deletes nothing" {
  run -0 sync
  local before
  before=$(s3 keys)
  mv dist/assets/index-BTkO3vlH.js dist/assets/index-Zx81abcD.js
  echo 'changed' >dist/index.html
  watched Zx81abcD
  run -1 --separate-stderr sync
  assert_regex "$stderr" 'error: PutObject s3://.*index-Zx81abcD.js: .*\(500\).*Next: the store is failing'
  assert_equal "$(s3 keys)" "$before"
  assert_regex "$(s3 get index.html)" 'BTkO3vlH'
}

@test "✗ aws s3 sync --delete of an empty or unmounted directory removes every remote copy: it is refused" {
  run -0 sync
  local before
  before=$(s3 keys)
  rm -r dist/* dist/.well-known
  run -1 --separate-stderr sync --force
  assert_regex "$stderr" 'error: dist has no file in it. Next: build the files first, or correct ASSETS_DIRECTORY'
  rmdir dist
  run -2 --separate-stderr sync --force
  assert_regex "$stderr" 'error: dist: is not there. Next: build the files first'
  assert_equal "$(s3 keys)" "$before"
}

@test "a directory without more than half of what is there is refused, and --force means it" {
  run -0 sync
  local before
  before=$(s3 keys)
  rm -r dist/assets dist/.well-known dist/*.png
  run -1 --separate-stderr sync
  assert_regex "$stderr" 'error: 4 of 6 objects in s3://.* are not in dist: .*Next: correct ASSETS_DIRECTORY or ASSETS_BUCKET.*--force'
  assert_equal "$(s3 keys)" "$before"
  run -0 --separate-stderr sync --force --json
  assert_regex "$output" '"uploaded":0,"unchanged":2,"deleted":4'
}

@test "what is in the bucket outside of the prefix is not touched" {
  s3_of "$FOLDER-beside/" put index.html kept
  run -0 sync --force
  assert_equal "$(s3_of "$FOLDER-beside/" get index.html)" kept
}

@test "secrets in the directory are not published" {
  echo SECRET=1 >dist/.env.production
  run -1 --separate-stderr sync
  assert_regex "$stderr" 'error: dist/.env.production would be published. Next: remove it'
  assert_equal "$(s3 keys)" ""
}

@test "--dry-run tells every object with its headers, and writes none" {
  run -0 --separate-stderr sync --dry-run
  assert_regex "$stderr" "put s3://$BUCKET/$FOLDER/index.html \(text/html; charset=utf-8; no-cache\)"
  assert_regex "$stderr" '6 files to upload \(.*\), 0 unchanged, 0 to delete'
  assert_equal "$(s3 keys)" ""
}

@test "a bucket that is not there, and credentials that may not write, say what to do" {
  ENV+=(ASSETS_BUCKET=s3://not-there-at-all)
  run -1 --separate-stderr sync
  assert_regex "$stderr" 'ListBucket s3://not-there-at-all/: NoSuchBucket.*Next: create the bucket, or correct its name'
  ENV+=(ASSETS_BUCKET="s3://$BUCKET/$FOLDER" AWS_ACCESS_KEY_ID="$AWS_ACCESS_KEY_ID" AWS_SECRET_ACCESS_KEY="$AWS_SECRET_ACCESS_KEY")
  run -1 --separate-stderr sync
  assert_regex "$stderr" 'AccessDenied \(403\).*Next: use credentials that are allowed s3:ListBucket'
}

@test "the cache of CloudFront is emptied when something changed, and only then" {
  local id
  id=$(aws_cli cloudfront create-distribution --origin-domain-name "$BUCKET.s3.amazonaws.com" --query Distribution.Id --output text)
  ENV+=(CLOUDFRONT_DISTRIBUTION="$id")
  run -0 --separate-stderr sync --dry-run
  assert_regex "$stderr" "would: empty the cache of $id"
  run -0 --separate-stderr sync --json
  assert_regex "$output" '"invalidation":"[A-Z0-9]+"'
  watched
  run -0 sync
  assert_equal "$(grep -c invalidation seen)" 0
  echo 1.3.0 >dist/version.txt
  run -0 sync
  assert_equal "$(grep invalidation seen)" "POST /2020-05-31/distribution/$id/invalidation"
  ENV+=(CLOUDFRONT_DISTRIBUTION=EDFDVBD6EXAMPLE)
  echo 1.4.0 >dist/version.txt
  run -1 --separate-stderr sync
  assert_regex "$stderr" 'CreateInvalidation EDFDVBD6EXAMPLE: NoSuchDistribution'
}

@test "SIGTERM during the upload ends it, and deletes nothing" {
  run -0 sync
  mv dist/assets/index-BTkO3vlH.js dist/assets/index-Zx81abcD.js
  watched Zx81abcD hang
  start_opsbook deploy/sync-assets
  wait_for grep -q Zx81abcD seen
  kill "$PID"
  assert_ends 143
  run -0 s3 keys
  assert_output --partial index-BTkO3vlH.js
}
