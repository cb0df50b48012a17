import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { age, backUp, restoreBeside, uploadsOf, workIn, world, write } from './kit.ts';

const puts = (asked: string[]) => asked.filter((line) => line.startsWith('put content/'));

test('every kind of entry comes back as it was', async () => {
  const w = world();
  write(w.uploads, { 'a.jpg': 'one', 'sub/b.jpg': 'two', empty: '', 'sub/copy.jpg': 'one' });
  mkdirSync(join(w.uploads, 'void/deep'), { recursive: true });
  symlinkSync('../outside', join(w.uploads, 'link'));
  symlinkSync('sub', join(w.uploads, 'link-to-directory'));
  linkSync(join(w.uploads, 'a.jpg'), join(w.uploads, 'hard'));
  chmodSync(join(w.uploads, 'a.jpg'), 0o4755);
  chmodSync(join(w.uploads, 'void'), 0o711);
  const part = await backUp(w);
  assert.deepEqual(
    [part.files, part.directories, part.symlinks, part.bytesIn],
    [5, 3, 2, 'onetwooneone'.length],
  );
  const restored = await restoreBeside(w, part, { allowSetuid: true });
  assert.deepEqual(await restored.compare(), []);
  assert.equal(readFileSync(join(restored.place, 'hard'), 'utf8'), 'one');
  assert.equal(readlinkSync(join(restored.place, 'link')), '../outside');
  assert.equal(lstatSync(join(restored.place, 'a.jpg')).mode & 0o7777, 0o4755);
});

test('names of any bytes come back: newlines, quotes, dashes, no UTF-8', async () => {
  const w = world();
  const names = ['new\nline', '"quo\'ted"', '-rf', ' ', 'ünïcode', '日本', '\\', '*', '$(id)'].map((n) =>
    Buffer.from(n),
  );
  names.push(
    Buffer.from([0x66, 0xff, 0xfe, 0x0a]),
    Buffer.from([0xef, 0xbb, 0xbf, 0x61]),
    Buffer.from([0xc3]),
  );
  for (const [i, name] of names.entries()) {
    const path = Buffer.concat([Buffer.from(`${w.uploads}/`), name]);
    writeFileSync(path, `content ${i}`);
    age(path);
  }
  const folder = Buffer.concat([Buffer.from(`${w.uploads}/`), Buffer.from([0xe9])]);
  mkdirSync(folder);
  writeFileSync(Buffer.concat([folder, Buffer.from('/in')]), 'inside');
  const part = await backUp(w);
  const restored = await restoreBeside(w, part);
  assert.deepEqual(await restored.compare(), []);
  assert.deepEqual(readdirSync(restored.place, 'latin1').sort(), readdirSync(w.uploads, 'latin1').sort());
  await restored.discard();
  assert.throws(() => lstatSync(restored.place), { code: 'ENOENT' });
});

test('the tree can be read by a person with jq, in order of path', async () => {
  const w = world();
  write(w.uploads, { 'b/c': 'x', 'a.txt': 'hello' });
  const part = await backUp(w);
  const lines = readFileSync(join(w.stored, part.tree.key), 'utf8').trimEnd().split('\n');
  const entries = lines.map((line) => JSON.parse(line));
  assert.deepEqual(
    entries.map(({ path, type }) => [path, type]),
    [
      ['.', 'directory'],
      ['a.txt', 'file'],
      ['b', 'directory'],
      ['b/c', 'file'],
    ],
  );
  assert.deepEqual(
    { ...entries[1], uid: 0, gid: 0, mtime: 0 },
    {
      path: 'a.txt',
      type: 'file',
      mode: '0644',
      uid: 0,
      gid: 0,
      mtime: 0,
      size: 5,
      sha256: '2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824',
    },
  );
  assert.equal(
    readFileSync(join(w.stored, 'content/2c', entries[1].sha256), 'utf8'),
    'hello',
    'raw bytes under their SHA-256',
  );
});

test('a second backup of an unchanged directory stores nothing, reads nothing and lists no content', async () => {
  const w = world();
  write(w.uploads, { a: '1', b: '2', c: '1' });
  await backUp(w);
  assert.equal(puts(w.asked).length, 3, 'two contents and the tree');
  w.asked.length = 0;
  chmodSync(join(w.uploads, 'a'), 0o644);
  const part = await backUp(w);
  assert.deepEqual(puts(w.asked), []);
  assert.deepEqual(
    w.asked.filter((line) => /list content|get /.test(line)),
    [],
  );
  assert.equal(part.bytesOut, 0);
  assert.match(w.notes.at(-1) ?? '', /3 files, 3 B; new: 0 contents, 0 B/);
});

test('sockets and pipes are left out with a warning that names them', async () => {
  const w = world();
  write(w.uploads, { a: '1' });
  execFileSync('mkfifo', [join(w.uploads, 'pipe')]);
  const part = await backUp(w);
  assert.equal(part.files, 1);
  assert.match(w.report.warnings[0] ?? '', /^uploads: left out, .*: pipe$/);
});

test('a missing, an empty and a file-like directory are refused before anything is stored', async () => {
  const w = world();
  mkdirSync(join(w.uploads, 'only/directories'), { recursive: true });
  await assert.rejects(
    backUp(w),
    /uploads: there is no file in .*a volume that is not mounted looks like this/,
  );
  rmSync(w.uploads, { recursive: true });
  await assert.rejects(backUp(w), /uploads: .*uploads is not there/);
  writeFileSync(w.uploads, '');
  await assert.rejects(backUp(w), /is not a directory/);
  assert.deepEqual(w.asked, []);
});

test('an empty directory is backed up and restored when it is meant to be empty', async () => {
  const w = world();
  const part = await backUp(w, { allowEmpty: true });
  const restored = await restoreBeside(w, part);
  assert.deepEqual(await restored.compare(), []);
});

test('a store inside the directory is refused', async () => {
  const w = world();
  write(w.uploads, { a: '1' });
  const store = { ...w.store, uri: `file://${w.uploads}/backups` };
  await assert.rejects(backUp(w, { store }), /each backup would contain the last/);
});

test('the state folder and what a restore left in a directory are no data', async () => {
  const w = world();
  write(w.app, { 'uploads/a': '1', '.opsbook-before-20260101-000000/old': '2' });
  const { directorySource } = await import('../../../lib/backup/save-directory.ts');
  const part = await backUp(w, {}, directorySource({ name: 'app', path: w.app }, w.app));
  assert.deepEqual([part.files, part.directories], [1, 1]);
});

test('a dry run plans without a state folder', async () => {
  const w = world();
  write(w.uploads, { a: '1' });
  const { plan } = await uploadsOf(w).prepare(await workIn(w, { stateDir: undefined }));
  assert.match(String(plan[0]), /1 file \(1 B\)/);
});
