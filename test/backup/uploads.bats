#!/usr/bin/env bats
# Row 8: what happens to files between two backups; the rest of what can befall a file is in test/lib/backup/files.
bats_require_minimum_version 1.5.0

load world

setup() {
  world
  export BACKUP_DATABASES='' BACKUP_DIRECTORIES=uploads
  mkdir "$APP_DIR/uploads"
  local name
  for name in a b c; do echo "content of $name" >"$APP_DIR/uploads/$name"; done
}

# Every file of a directory with its hash.
hashes() { (cd "$1" && find . -type f -print0 | sort -z | xargs -0 -r sha256sum); }

@test "row 8: a file that was deleted or overwritten yesterday is in the backup of the day before" {
  local before first
  before=$(hashes "$APP_DIR/uploads")
  first=$(opsbook backup)
  rm "$APP_DIR/uploads/a"
  echo broken >"$APP_DIR/uploads/b"
  run -0 opsbook backup
  run -0 as_reader opsbook restore "$first" --to "$BATS_TEST_TMPDIR/yesterday"
  assert_equal "$(hashes "$BATS_TEST_TMPDIR/yesterday")" "$before"
}

@test "row 8: an empty folder is refused, and nothing in the store is touched" {
  run -0 opsbook backup
  local stored
  stored=$(keys)
  rm "$APP_DIR"/uploads/*
  run -1 --separate-stderr opsbook backup
  [[ $stderr == *'a volume that is not mounted looks like this'*'--allow-empty'* ]]
  assert_equal "$(keys)" "$stored"
  run -0 opsbook backup --allow-empty
}

@test "row 8: a folder that is not there is refused, and nothing in the store is touched" {
  run -0 opsbook backup
  local stored
  stored=$(keys)
  rm -r "$APP_DIR/uploads"
  run -1 --separate-stderr opsbook backup
  [[ $stderr == *"uploads is not there"* ]]
  assert_equal "$(keys)" "$stored"
}

@test "names with a newline, quotes, a leading dash and bytes that are no UTF-8 come back, and so do links and empty folders" {
  cd "$APP_DIR/uploads"
  echo 1 >$'new\nline' && echo 2 >"it's \"quoted\"" && echo 3 >./-rf && echo 4 >$'\xff\xfe.jpg'
  : >empty-file
  mkdir empty-folder 'folder with $HOME'
  ln -s ../outside dangling
  local before
  before=$(find . -printf '%p %y %m %l\n' | sort; hashes .)
  cd "$BATS_TEST_TMPDIR"
  run -0 opsbook backup
  rm -r "$APP_DIR/uploads"
  run -0 as_reader opsbook restore --yes
  cd "$APP_DIR/uploads"
  assert_equal "$(find . -printf '%p %y %m %l\n' | sort; hashes .)" "$before"
}

@test "6 GB of a sparse file cost neither the store nor the disk that much" {
  rm "$APP_DIR"/uploads/*
  truncate -s 6G "$APP_DIR/uploads/disk.img"
  echo end >>"$APP_DIR/uploads/disk.img"
  export BACKUP_STORE="file://$BATS_TEST_TMPDIR"
  run -0 opsbook backup
  run -0 opsbook restore --to "$BATS_TEST_TMPDIR/back"
  assert_equal "$(stat -c %s "$BATS_TEST_TMPDIR/back/disk.img")" $((6 * 1024 ** 3 + 4))
  assert_equal "$(tail -c 4 "$BATS_TEST_TMPDIR/back/disk.img")" end
  (($(du -k "$BATS_TEST_TMPDIR/back/disk.img" | cut -f1) < 1024))
}

@test "a backup that shrank by more than half is warned of" {
  head -c 100000 /dev/urandom >"$APP_DIR/uploads/large"
  run -0 opsbook backup
  rm "$APP_DIR/uploads/large"
  run -0 --separate-stderr opsbook backup
  [[ $stderr == *'directory uploads shrank by more than half: 100.0 kB in '* ]]
}
