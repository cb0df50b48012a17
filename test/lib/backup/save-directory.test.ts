import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import {
  appendFileSync,
  chmodSync,
  chownSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { parseDirectory } from '../../../lib/backup/addresses.ts';
import { directorySource } from '../../../lib/backup/save-directory.ts';
import type { Store } from '../../../lib/backup/store.ts';
import {
  age,
  backUp,
  contentPuts,
  interfering,
  restoreBeside,
  uploadsOf,
  workIn,
  world,
  write,
} from './kit.ts';

const names: Array<[string, string]> = [
  ['uploads', 'uploads'],
  ['data/uploads/', 'uploads'],
  ['/srv/My Files', 'My-Files'],
  ['/srv/.hidden', 'hidden'],
  ['/srv/bücher', 'b-cher'],
];
for (const [raw, name] of names) {
  test(`BACKUP_DIRECTORIES=${raw} names the part ${name}`, () => {
    assert.deepEqual(parseDirectory(raw), { name, path: raw });
  });
}

test('a directory without a name of its own is refused', () => {
  for (const raw of ['/', '.', '..']) assert.throws(() => parseDirectory(raw), /gives no name for the part/);
});

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
  assert.equal(contentPuts(w.asked).length, 3, 'two contents and the tree');
  w.asked.length = 0;
  chmodSync(join(w.uploads, 'a'), 0o644);
  const part = await backUp(w);
  assert.deepEqual(contentPuts(w.asked), []);
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

test('a file that vanishes while the directory is backed up is left out and counted', async () => {
  const w = world();
  for (let i = 0; i < 100; i += 1) write(w.uploads, { [`f${String(i).padStart(3, '0')}`]: `content ${i}` });
  const store = interfering(w.store, () => rmSync(join(w.uploads, 'f099')));
  const part = await backUp(w, { store });
  assert.equal(part.files, 99);
  assert.match(w.notes.at(-1) ?? '', /1 file vanished meanwhile/);
  const restored = await restoreBeside(w, part);
  assert.equal(readdirSync(restored.place).length, 99);
});

test('a file that has become a symlink since it was listed is not followed', async () => {
  const w = world();
  for (let i = 0; i < 100; i += 1) write(w.uploads, { [`f${String(i).padStart(3, '0')}`]: `content ${i}` });
  const store = interfering(w.store, () => {
    rmSync(join(w.uploads, 'f099'));
    symlinkSync('/etc/passwd', join(w.uploads, 'f099'));
  });
  assert.equal((await backUp(w, { store })).files, 99);
});

test('a file that only grows is stored as long as it was when it was opened', async () => {
  const w = world();
  const log = join(w.uploads, 'app.log');
  write(w.uploads, { 'app.log': Buffer.alloc(9e6, 'a line\n') });
  const store = interfering(w.store, () => appendFileSync(log, 'more'));
  const part = await backUp(w, { store });
  assert.equal(part.bytesIn, 9e6);
  assert.equal((await backUp(w)).bytesIn, 9e6 + 4, 'the next backup has the rest');
});

test('a file that changes each time it is read fails the part and is named', async () => {
  const w = world();
  const file = join(w.uploads, 'busy.db');
  write(w.uploads, { 'busy.db': Buffer.alloc(9e6, 1) });
  let n = 1;
  const store: Store = {
    ...w.store,
    async putStream(key, body, most) {
      n += 1;
      writeFileSync(file, Buffer.alloc(9e6, n));
      return w.store.putStream(key, body, most);
    },
  };
  await assert.rejects(
    backUp(w, { store }),
    /^Failure: uploads: busy.db changed while it was read, 3 times$/,
  );
  assert.equal(n, 4);
  const stored = [];
  for await (const { key } of w.store.list('content/')) stored.push(key);
  assert.deepEqual(stored, [], 'no half content is in the store');
});

test('a file that changed once while it was read is read again', async () => {
  const w = world();
  const file = join(w.uploads, 'photo');
  write(w.uploads, { photo: Buffer.alloc(9e6, 1) });
  const store = interfering(w.store, () => writeFileSync(file, Buffer.alloc(9e6, 2)));
  const part = await backUp(w, { store });
  const restored = await restoreBeside(w, part);
  assert.equal(readFileSync(join(restored.place, 'photo'))[0], 2);
});

test('a file truncated while it is read is stored as it is then', async () => {
  const w = world();
  write(w.uploads, { photo: Buffer.alloc(9e6, 1) });
  const store = interfering(w.store, () => truncateSync(join(w.uploads, 'photo'), 5));
  assert.equal((await backUp(w, { store })).bytesIn, 5);
});

test('files and directories that may not be read are named before anything is stored', () => {
  const w = world();
  for (let i = 0; i < 7; i += 1) write(w.uploads, { [`secret${i}`]: 'x' });
  write(w.uploads, { 'closed/in': 'x', fine: 'x' });
  for (let i = 0; i < 7; i += 1) chmodSync(join(w.uploads, `secret${i}`), 0o000);
  chmodSync(join(w.uploads, 'closed'), 0o000);
  // Root may read everything: another user has to try. The tests of this file run as root in the sandbox and in CI.
  const asNobody =
    process.getuid?.() === 0 ? ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'] : [];
  if (asNobody.length > 0) chmodSync(join(w.app, '..'), 0o755);
  const script = `
    import { directorySource } from ${JSON.stringify(join(process.cwd(), 'lib/backup/save-directory.ts'))};
    const work = { store: { uri: 's3://x/y', address: String }, appDir: ${JSON.stringify(w.app)}, signal: new AbortController().signal };
    directorySource({ name: 'uploads', path: 'uploads' }, ${JSON.stringify(w.app)}).prepare(work).catch((e) => console.log(e.message));
  `;
  const [command = process.execPath, ...args] = [
    ...asNobody,
    process.execPath,
    '--import',
    'tsx',
    '--input-type=module',
    '-e',
    script,
  ];
  const { stdout, stderr } = spawnSync(command, args, {
    encoding: 'utf8',
    env: { ...process.env, TMPDIR: '/tmp' },
  });
  assert.equal(
    stdout.replace(/user \d+/, 'user N').replace(/: [^:]*$/, ''),
    'uploads: 8 of its files and directories may not be read by user N',
    stderr,
  );
  assert.match(stdout, /: (closed|secret\d)(, (closed|secret\d)){4} and 3 more\n$/);
});

test('a store that fails stops the backup and names what it could not store', async () => {
  const w = world();
  for (let i = 0; i < 200; i += 1) write(w.uploads, { [`f${i}`]: `content ${i}` });
  let tried = 0;
  const store: Store = {
    ...w.store,
    async put(key) {
      tried += 1;
      throw new Error(`${key}: SlowDown`);
    },
  };
  await assert.rejects(backUp(w, { store }), /SlowDown/);
  assert.ok(tried <= 32, `${tried} tries`);
});

test('an interruption stops the backup', async () => {
  const w = world();
  for (let i = 0; i < 200; i += 1) write(w.uploads, { [`f${i}`]: `content ${i}` });
  const interruption = new AbortController();
  const store = interfering(w.store, () => interruption.abort(new Error('interrupted')));
  await assert.rejects(backUp(w, { store, signal: interruption.signal }), /interrupted/);
  assert.ok(contentPuts(w.asked).length <= 32);
});

test('ownership is kept for root', {
  skip: process.getuid?.() !== 0 && 'only root gives files away',
}, async () => {
  const w = world();
  write(w.uploads, { a: 'one' });
  chownSync(join(w.uploads, 'a'), 33, 44);
  const restored = await restoreBeside(w, await backUp(w));
  const { uid, gid } = statSync(join(restored.place, 'a'));
  assert.deepEqual([uid, gid], [33, 44]);
});

test('a file that has fewer bytes than it says is not stored as what it is not', async (t) => {
  const directory = '/sys/kernel/mm/transparent_hugepage/khugepaged';
  if (!existsSync(directory)) return t.skip('no /sys');
  const source = directorySource({ name: 'odd', path: directory }, '/');
  await assert.rejects(backUp(world(), {}, source), /odd: \w+ changed while it was read, 3 times/);
});
