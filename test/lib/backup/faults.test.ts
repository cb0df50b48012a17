import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  appendFileSync,
  chmodSync,
  chownSync,
  existsSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { directorySource } from '../../../lib/backup/save-directory.ts';
import type { Store } from '../../../lib/backup/store.ts';
import { backUp, contentPuts, nextId, restoreBeside, world, write } from './kit.ts';

/** The store, with `act` done once before the first content is stored. */
function interfering(store: Store, act: () => void): Store {
  let done = false;
  const once = () => {
    if (!done) act();
    done = true;
  };
  return {
    ...store,
    put: async (key, body) => {
      if (key.startsWith('content/')) once();
      return store.put(key, body);
    },
    putStream: async (key, body, most) => {
      once();
      return store.putStream(key, body, most);
    },
  };
}

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

test('a prune elsewhere, while files are stored, fails the backup', async () => {
  const w = world();
  write(w.uploads, { a: 'one', b: 'two' });
  const id = nextId();
  await backUp(w, { id });
  write(w.uploads, { c: 'three' });
  const prune = () => rmSync(join(w.stored, 'backups', id), { recursive: true });
  await assert.rejects(
    backUp(w, { store: interfering(w.store, prune) }),
    /whose files this one shares, vanished/,
  );
});

test('a prune elsewhere, while files are stored that were found in the store, fails the backup', async () => {
  const w = world();
  write(w.uploads, { a: 'one', b: 'two' });
  await backUp(w);
  rmSync(join(w.state, 'files'), { recursive: true });
  write(w.uploads, { c: 'three' });
  const collect = () => rmSync(join(w.stored, 'content'), { recursive: true });
  await assert.rejects(
    backUp(w, { store: interfering(w.store, collect) }),
    /2 contents, such as content\/.*, vanished from file:.* during the backup/,
  );
});

test('A10: what a backup of more than a day stored itself is confirmed before its manifest, whatever was stored last', async (t) => {
  t.mock.timers.enable({ apis: ['Date'], now: Date.now() });
  for (const remembered of [true, false]) {
    const w = world();
    write(w.uploads, { a: 'one' });
    if (remembered) await backUp(w);
    write(w.uploads, { b: 'two', c: 'three' });
    const settle = async () => {
      t.mock.timers.setTime(Date.now() + 24 * 3_600_000);
      rmSync(join(w.stored, 'content'), { recursive: true });
    };
    await assert.rejects(
      backUp(w, { store: { ...w.store, settle } }),
      /\d contents, such as content\/.*, vanished from file:.* during the backup/,
    );
  }
});

test('A10: a backup of less than a day does not list what it stored', async () => {
  const w = world();
  write(w.uploads, { a: 'one' });
  await backUp(w);
  write(w.uploads, { b: 'two' });
  w.asked.length = 0;
  await backUp(w);
  assert.deepEqual(
    w.asked.filter((line) => line.startsWith('list content/')),
    [],
  );
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
