#!/usr/bin/env bats
# Releases in real repositories with a real remote: a commit, a tag and a push, or nothing at all.
bats_require_minimum_version 1.5.0

load ../helpers

setup() {
  REMOTE=$BATS_TEST_TMPDIR/remote.git WORK_DIR=$BATS_TEST_TMPDIR/checkout
  ENV+=(APP=codemonet APP_DIR=/opt/codemonet)
  export HOME=$BATS_TEST_TMPDIR TODAY
  TZ=UTC printf -v TODAY '%(%Y-%m-%d)T' -1
  git config --global user.name Someone
  git config --global user.email someone@example.org
  git config --global init.defaultBranch main
  git init --quiet --bare "$REMOTE"
  git init --quiet "$WORK_DIR"
  cd "$WORK_DIR" || return
  git remote add origin "$REMOTE"
  changelog >CHANGELOG.md
  git add .
  git commit --quiet --message "Begin"
  git push --quiet --set-upstream origin main
  BEFORE=$(git rev-parse HEAD)
}

teardown() {
  end_started
}

# A changelog with trailing blanks, a code block and a comment: what a release may not touch.
changelog() {
  cat <<'MD'
# Changelog

All that is notable.   

## [Unreleased]

### Added

- Drawings can be *shared*, see [the docs] and [#12]

<!-- keep this -->

## [1.1.0] - 2026-01-31
### Fixed
* a bug
```
## [not a heading]
```

## [1.0.0] - 2025-12-24 [YANKED]
- first

[unreleased]: https://github.com/example/drawing/compare/v1.1.0...HEAD
[1.1.0]: https://github.com/example/drawing/compare/v1.0.0...v1.1.0
[1.0.0]: https://github.com/example/drawing/releases/tag/v1.0.0
[the docs]: https://example.org/docs
MD
}

release() { opsbook deploy/release "$@"; }

remote() { git --git-dir "$REMOTE" "$@"; }

# Fails unless the last run said this, and neither the checkout nor the remote changed.
assert_refused() {
  assert_regex "$stderr" "release: error: $1"
  assert_equal "$(grep -c ': error: ' <<<"$stderr")" "${2:-1}"
  assert_nothing_done
}

assert_nothing_done() {
  assert_equal "$(git rev-parse main) $(remote rev-parse main)" "$BEFORE $BEFORE"
  assert_equal "$(git tag) $(remote tag)" " "
}

# A commit that changes the changelog to what a filter makes of it.
commit_changelog() {
  changelog | "$@" >CHANGELOG.md
  commit
}

commit() {
  git add --all
  git commit --quiet --message "Change"
  git push --quiet
  BEFORE=$(git rev-parse HEAD)
}

@test "[Unreleased] becomes the version with its date and compare link, and no other byte changes" {
  run -0 --separate-stderr release 1.2.0
  assert_output 1.2.0
  diff - CHANGELOG.md <<MD
$(changelog | sed "s|^## \[Unreleased\]|&\n\n## [1.2.0] - $TODAY|
    s|^\[unreleased\]: .*|[unreleased]: https://github.com/example/drawing/compare/v1.2.0...HEAD\n[1.2.0]: https://github.com/example/drawing/compare/v1.1.0...v1.2.0|")
MD
  assert_equal "$(git status --porcelain)" ""
}

@test "the commit and its annotated tag, with the notes as its text, are on the remote" {
  run -0 release 1.2.0
  assert_equal "$(remote log -1 --format='%s by %an' main)" "Release 1.2.0 by Someone"
  assert_equal "$(remote diff --name-only "$BEFORE" main)" CHANGELOG.md
  assert_equal "$(remote cat-file -t v1.2.0)" tag
  assert_equal "$(remote rev-parse 'v1.2.0^{commit}')" "$(remote rev-parse main)"
  run -0 remote tag --list --format='%(contents)' v1.2.0
  assert_line --index 0 1.2.0
  assert_line "### Added"
}

@test "--dry-run prints the commands of the release and runs none" {
  run -0 --separate-stderr release v1.2.0 --dry-run
  assert_output ""
  assert_regex "$stderr" 'would: commit and tag v1.2.0'
  assert_regex "$stderr" "git commit --quiet --message 'Release 1.2.0' -- CHANGELOG.md"
  assert_regex "$stderr" 'git push --quiet --atomic origin refs/heads/main refs/tags/v1.2.0'
  assert_regex "$stderr" 'Drawings can be \*shared\*'
  assert_nothing_done
  changelog | diff - CHANGELOG.md
}

@test "--json answers with the version and its tag" {
  run -0 --separate-stderr release 1.2.0-rc.1 --json
  assert_output '{"version":"1.2.0-rc.1","tag":"v1.2.0-rc.1","branch":"main"}'
}

@test "a first release, of a file without links, takes the page from the remote" {
  printf '# Changelog\n## Unreleased\n- all\n' >CHANGELOG.md
  commit
  git remote set-url origin git@github.com:example/drawing.git
  git remote set-url --push origin "$REMOTE"
  git config url."$REMOTE".insteadOf git@github.com:example/drawing.git
  run -0 --separate-stderr release 0.1.0
  diff - CHANGELOG.md <<MD
# Changelog
## Unreleased

## 0.1.0 - $TODAY
- all

[unreleased]: https://github.com/example/drawing/compare/v0.1.0...HEAD
[0.1.0]: https://github.com/example/drawing/releases/tag/v0.1.0
MD
}

@test "a file with CRLF keeps it" {
  commit_changelog sed 's/$/\r/'
  run -0 release 1.2.0
  assert_equal "$(grep -vc $'\r$' CHANGELOG.md)" 0
}

@test "--notes prints the section of a version, with the links that it uses" {
  run -0 --separate-stderr release --notes 1.1.0
  assert_output $'### Fixed\n* a bug\n```\n## [not a heading]\n```'
  run -0 release 1.2.0
  run -0 --separate-stderr release --notes
  assert_output $'### Added\n\n- Drawings can be *shared*, see [the docs] and [#12]\n\n<!-- keep this -->\n\n[the docs]: https://example.org/docs'
}

@test "--notes of a version that is not there names those that are" {
  run -1 --separate-stderr release --notes 1.5.0
  assert_regex "$stderr" 'CHANGELOG.md has no section of 1.5.0. Next: it has 1.1.0, 1.0.0$'
}

@test "awk takes the dot of a version for any character: --notes 1.1.0 is not fooled by 1x1x0" {
  commit_changelog sed 's/^\* a bug/* 1x1x0\n#### [1.1.0] - no heading of a version/'
  run -0 --separate-stderr release --notes v1.1.0
  assert_line "#### [1.1.0] - no heading of a version"
}

@test "everything that is in the way of a release is told together" {
  commit_changelog grep -v Drawings
  git switch --quiet --create feature
  touch left-over
  run -1 --separate-stderr release 1.2.0
  assert_refused 'CHANGELOG.md says nothing under \[Unreleased\]' 3
  assert_regex "$stderr" 'error: not committed: left-over. Next: commit it'
  assert_regex "$stderr" 'error: the branch is feature, releases are made on main. Next: git switch main'
}

@test "an [Unreleased] with headings and comments alone is empty" {
  commit_changelog sed 's/^- Drawings.*/### Fixed\n<!-- nothing\n- yet -->/'
  run -1 --separate-stderr release 1.2.0
  assert_refused 'CHANGELOG.md says nothing under'
}

@test "a detached HEAD is refused, and --branch allows another branch" {
  git switch --quiet --detach
  run -1 --separate-stderr release 1.2.0
  assert_refused 'no branch is checked out'
  git switch --quiet --create support
  git push --quiet --set-upstream origin support
  run -0 release 1.2.0 --branch support
  assert_equal "$(remote log -1 --format=%s support)" "Release 1.2.0"
}

@test "a branch that is behind its remote is refused, also when nothing was fetched" {
  git clone --quiet "$REMOTE" "$BATS_TEST_TMPDIR/other"
  git -C "$BATS_TEST_TMPDIR/other" commit --quiet --allow-empty --message "Elsewhere"
  git -C "$BATS_TEST_TMPDIR/other" push --quiet
  run -1 --separate-stderr release 1.2.0
  assert_regex "$stderr" 'error: origin has commits on main that are not here. Next: git pull --ff-only origin main'
  assert_equal "$(git tag)$(remote tag)" ""
}

@test "a tag that exists on the remote is refused" {
  remote tag v1.2.0
  run -1 --separate-stderr release 1.2.0
  assert_regex "$stderr" 'error: origin has the tag v1.2.0 already. Next: release a higher version'
  assert_equal "$(git tag)" ""
}

@test "a tag that exists here alone is refused, and how to go on is said" {
  git tag v1.2.0
  run -1 --separate-stderr release 1.2.0
  assert_regex "$stderr" 'error: the tag v1.2.0 is here already, and origin does not have it.*to start again: git tag -d v1.2.0'
  assert_equal "$(remote tag)" ""
}

@test "a version that is none, or not newer, is refused" {
  local version
  for version in 1.2 1.2.0.0 01.2.0 1.2.0-01 latest '1.2.0;id' v; do
    run -2 --separate-stderr release "$version"
    assert_refused "$version is not a version. Next: name one such as 1.2.0"
  done
  run -2 --separate-stderr release 1.2.0+build.5
  assert_refused '1.2.0.build.5 has build metadata, which no image tag can have'
  run -2 --separate-stderr release 1.1.0-rc.2
  assert_refused '1.1.0-rc.2 is not newer than 1.1.0'
  run -2 --separate-stderr release
  assert_refused 'no version is named'
}

@test "a malformed changelog is refused by its line" {
  commit_changelog sed 's/^## \[1.1.0\].*/## 1.1 released in spring/'
  run -1 --separate-stderr release 1.2.0
  assert_refused 'CHANGELOG.md:13: "## 1.1 released in spring" is neither \[Unreleased\] nor a version and its date'
  commit_changelog sed '/^## \[Unreleased\]/d'
  run -1 --separate-stderr release 1.2.0
  assert_refused 'CHANGELOG.md:1: there is no section'
  commit_changelog sed 's/^## \[1.0.0\].*/## [1.1.0] - 2026-01-01/'
  run -1 --separate-stderr release 1.2.0
  assert_refused 'CHANGELOG.md:20: version 1.1.0 has a second section'
  commit_changelog sed 's/v1.1.0...HEAD/v0.9.0...HEAD/'
  run -1 --separate-stderr release 1.2.0
  assert_refused 'CHANGELOG.md:23: \[Unreleased\] is compared with v0.9.0, the newest version here is 1.1.0'
}

@test "outside the top of a repository, and without a changelog, it says where to run it" {
  mkdir sub
  WORK_DIR=$WORK_DIR/sub run -1 --separate-stderr release 1.2.0
  assert_regex "$stderr" 'sub is not the top of its repository. Next: cd ../'
  WORK_DIR=$BATS_TEST_TMPDIR run -1 --separate-stderr release 1.2.0
  assert_regex "$stderr" 'not a git repository.*Next: run it in the checkout'
  git rm --quiet CHANGELOG.md
  commit
  run -2 --separate-stderr release 1.2.0
  assert_refused 'CHANGELOG.md: cannot be read \(ENOENT\)'
}

# A hook of the remote or of the checkout.
hook() {
  printf '#!/bin/sh\n%s\n' "$2" >"$1"
  chmod +x "$1"
}

# Fails unless everything is as it was before, the changelog included.
assert_undone() {
  assert_regex "$stderr" 'the commit and the tag were undone'
  assert_nothing_done
  changelog | diff - CHANGELOG.md
  assert_equal "$(git status --porcelain)" ""
}

@test "a push that is rejected leaves no commit and no tag, here or there, and the next release works" {
  hook "$REMOTE/hooks/update" 'case $1 in refs/tags/*) echo "tags are protected" >&2; exit 1;; esac'
  run -1 --separate-stderr release 1.2.0
  assert_regex "$stderr" 'error: git exited with 1.*Next: try it by hand: .*git push'
  assert_undone
  rm "$REMOTE/hooks/update"
  run -0 release 1.2.0
}

@test "another push that comes between leaves nothing half-done" {
  git clone --quiet "$REMOTE" "$BATS_TEST_TMPDIR/other"
  hook .git/hooks/pre-push "cd '$BATS_TEST_TMPDIR/other' && unset GIT_DIR && git commit -q --allow-empty -m Other && git push -q 2>/dev/null"
  run -1 --separate-stderr release 1.2.0
  assert_regex "$stderr" 'the commit and the tag were undone'
  assert_equal "$(git tag)$(remote tag)" ""
  assert_equal "$(git rev-parse HEAD)" "$BEFORE"
}

@test "a commit that a hook refuses leaves the changelog as it was" {
  hook .git/hooks/commit-msg 'echo "not like this" >&2; exit 1'
  run -1 --separate-stderr release 1.2.0
  assert_regex "$stderr" 'git exited with 1: not like this'
  assert_undone
}

@test "a push that breaks after the remote has taken it is a release" {
  hook "$REMOTE/hooks/reference-transaction" '[ "$1" != committed ] || kill -9 $PPID'
  run -0 --separate-stderr release 1.2.0
  assert_regex "$stderr" 'warning: origin has taken v1.2.0, though the push said'
  assert_equal "$(remote tag) $(remote rev-parse main)" "v1.2.0 $(git rev-parse HEAD)"
}

@test "a push of which nobody can say whether it arrived is kept, and how to go on is said" {
  hook "$BATS_TEST_TMPDIR/receive" "mv '$REMOTE' '$REMOTE.gone'; exit 1"
  git config remote.origin.receivepack "$BATS_TEST_TMPDIR/receive"
  run -1 --separate-stderr release 1.2.0
  assert_regex "$stderr" "whether origin has taken v1.2.0 is not known, so both are kept here. Next: when origin answers: git push --atomic origin main v1.2.0; or to undo them: git tag -d v1.2.0 && git reset --keep $BEFORE"
  mv "$REMOTE.gone" "$REMOTE"
  git config --unset remote.origin.receivepack
  git push --quiet --atomic origin main v1.2.0
  assert_equal "$(remote rev-parse main)" "$(git rev-parse HEAD)"
}

@test "a remote that does not answer is told before anything is done" {
  mv "$REMOTE" "$REMOTE.gone"
  run -1 --separate-stderr release 1.2.0
  assert_regex "$stderr" 'error: origin does not answer: .*Next: try it by hand: git ls-remote origin'
  mv "$REMOTE.gone" "$REMOTE"
  assert_nothing_done
}

@test "SIGTERM during the push lets it end, so that the remote has all or nothing" {
  hook "$REMOTE/hooks/pre-receive" "touch '$BATS_TEST_TMPDIR/asked'; until [ -e '$BATS_TEST_TMPDIR/go' ]; do sleep 0.05; done"
  start_opsbook deploy/release 1.2.0
  wait_for test -e "$BATS_TEST_TMPDIR/asked"
  kill "$PID"
  touch "$BATS_TEST_TMPDIR/go"
  assert_ends 143
  assert_equal "$(remote rev-parse main)" "$(git rev-parse HEAD)"
  assert_equal "$(remote tag) $(git tag)" "v1.2.0 v1.2.0"
}

@test "SIGTERM during the commit undoes everything" {
  hook .git/hooks/pre-commit "touch '$BATS_TEST_TMPDIR/asked'; until [ -e '$BATS_TEST_TMPDIR/go' ]; do sleep 0.05; done"
  start_opsbook deploy/release 1.2.0
  wait_for test -e "$BATS_TEST_TMPDIR/asked"
  kill "$PID"
  touch "$BATS_TEST_TMPDIR/go"
  assert_ends 143
  stderr=$(<"$ERR")
  assert_undone
}

# A fake of GitHub (fake-github.ts) whose repository is the remote; GITHUB is what it was asked.
github() {
  GITHUB=$BATS_TEST_TMPDIR/github.log
  touch "$GITHUB"
  coproc FAKE { exec "$NODE" "$BATS_TEST_DIRNAME/fake-github.ts" --repository example/drawing \
    --git "$REMOTE" --token ghp_of-the-tests --log "$GITHUB" "$@" 3>&-; }
  STARTED+=("$FAKE_PID")
  local url
  read -r url <&"${FAKE[0]}"
  ENV+=(GITHUB_API_URL="$url" GITHUB_TOKEN=ghp_of-the-tests GITHUB_REPOSITORY=example/drawing)
}

# What GitHub was asked to make.
made() { sed -n 's/^POST [^ ]* //p' "$GITHUB"; }

@test "--github makes the release of a tagged version, with its section as the notes" {
  github
  run -0 release 1.2.0
  run -0 --separate-stderr release --github 1.2.0
  assert_regex "$output" '^http://.*/releases/tag/v1.2.0$'
  assert_equal "$(made)" "$("$NODE" --eval 'console.log(JSON.stringify(
    { tag_name: "v1.2.0", name: "1.2.0", body: process.argv[1], draft: false, prerelease: false }))' "$(release --notes 1.2.0)")"
}

@test "--github twice makes one release" {
  github
  run -0 release 1.2.0
  run -0 release --github 1.2.0
  run -0 --separate-stderr release --github 1.2.0 --json
  assert_regex "$output" '^\{"version":"1.2.0","url":"http.*/v1.2.0"\}$'
  assert_regex "$stderr" '= example/drawing has the release 1.2.0 already'
  assert_equal "$(made | wc -l)" 1
}

@test "--github of a version with a dash is a prerelease" {
  github
  run -0 release 1.2.0-rc.1
  run -0 release --github v1.2.0-rc.1
  assert_regex "$(made)" '"prerelease":true'
}

@test "--github of a version that is not tagged makes neither a release nor, as GitHub would, a tag" {
  github
  run -1 --separate-stderr release --github 1.1.0
  assert_regex "$stderr" 'error: example/drawing has no tag v1.1.0 on GitHub. Next: npx tsx scripts/deploy/release.ts 1.1.0'
  assert_equal "$(remote tag)$(made)" ""
}

@test "--github --dry-run looks and makes nothing" {
  github
  run -0 release 1.2.0
  run -0 --separate-stderr release --github 1.2.0 --dry-run
  assert_regex "$stderr" 'would: release 1.2.0 on GitHub'
  assert_regex "$stderr" 'POST /repos/example/drawing/releases \{"tag_name":"v1.2.0"'
  assert_equal "$(made)" ""
}

@test "--github when another run makes the release at the same time is done" {
  github --fault race
  run -0 release 1.2.0
  run -0 --separate-stderr release --github 1.2.0
  assert_output --partial /v1.2.0
}

@test "--github says which right a token lacks, that it is wrong, or that there is none, and never shows it" {
  github --fault forbidden
  run -0 release 1.2.0
  run -1 --separate-stderr release --github 1.2.0
  assert_regex "$stderr" '403 Resource not accessible by integration. Next: give GITHUB_TOKEN the right to write contents'
  ENV+=(GITHUB_TOKEN=ghp_a-wrong-one)
  run -1 --separate-stderr release --github 1.2.0 --verbose
  assert_regex "$stderr" '401 Bad credentials. Next: correct GITHUB_TOKEN'
  [[ $stderr != *ghp_* ]]
  ENV+=(GITHUB_TOKEN=)
  run -2 --separate-stderr release --github 1.2.0
  assert_regex "$stderr" 'GITHUB_TOKEN is not set. Next: set it to a token that may write contents'
}

@test "--github when GitHub cannot be reached fails, and a second run may be made" {
  ENV+=(GITHUB_API_URL=http://127.0.0.1:9 GITHUB_TOKEN=ghp_of-the-tests GITHUB_REPOSITORY=example/drawing)
  run -1 --separate-stderr release --github 1.1.0
  assert_regex "$stderr" 'GET http://127.0.0.1:9/repos/example/drawing/releases/tags/v1.1.0: .*Next: run it again'
}

@test "✗ the GitHub release is created before deploy and verify: a release is not made but by --github, later" {
  github
  run -0 --separate-stderr release 1.2.0
  assert_regex "$stderr" 'when it is deployed and verified: npx tsx scripts/deploy/release.ts --github 1.2.0'
  assert_equal "$(<"$GITHUB")" ""
}
