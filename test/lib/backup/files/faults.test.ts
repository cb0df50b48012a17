import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  appendFileSync,
  chmodSync,
  chownSync,
  existsSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { directorySource } from '../../../../lib/backup/files/directory.ts';
import { sealer } from '../../../../lib/backup/seal.ts';
import type { Store } from '../../../../lib/backup/store.ts';
import { age, backUp, nextId, restoreBeside, uploadsOf, workIn, world, write } from './kit.ts';

const contentPuts = (asked: string[]) => asked.filter((line) => line.startsWith('put content/'));

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
    import { directorySource } from ${JSON.stringify(join(process.cwd(), 'lib/backup/files/directory.ts'))};
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

test('a file written within two seconds before it was read is read again the next time', async () => {
  const w = world();
  write(w.uploads, { old: '1' });
  const file = join(w.uploads, 'fresh');
  const justNow = Math.floor(Date.now() / 1000);
  const writeAt = (text: string) => {
    writeFileSync(file, text);
    utimesSync(file, justNow, justNow);
  };
  writeAt('aaaa');
  await backUp(w);
  writeAt('bbbb');
  const part = await backUp(w);
  const restored = await restoreBeside(w, part);
  assert.equal(readFileSync(join(restored.place, 'fresh'), 'utf8'), 'bbbb');
});

test('a file is read again when its size, its time or its inode changed', async () => {
  const w = world();
  write(w.uploads, { size: 'aa', time: 'aa', inode: 'aa' });
  await backUp(w);
  write(w.uploads, { size: 'bbb', other: 'bbi' });
  writeFileSync(join(w.uploads, 'time'), 'bt');
  age(join(w.uploads, 'time'), 1800);
  const { atime, mtime } = statSync(join(w.uploads, 'inode'));
  writeFileSync(join(w.uploads, 'other'), 'bi');
  utimesSync(join(w.uploads, 'other'), atime, mtime);
  renameSync(join(w.uploads, 'other'), join(w.uploads, 'inode'));
  const restored = await restoreBeside(w, await backUp(w));
  const read = (name: string) => readFileSync(join(restored.place, name), 'utf8');
  assert.deepEqual([read('size'), read('time'), read('inode')], ['bbb', 'bt', 'bi']);
});

test('a backup that failed before its manifest is not remembered', async () => {
  const w = world();
  write(w.uploads, { a: '1' });
  await (await uploadsOf(w).prepare(await workIn(w))).save(w.step);
  w.asked.length = 0;
  await backUp(w);
  assert.ok(w.asked.includes('list content/'), 'the store is asked what it has');
  assert.deepEqual(contentPuts(w.asked), [], 'and what it has is not stored again');
});

test('memory of a backup that was pruned is not trusted', async () => {
  const w = world();
  write(w.uploads, { a: '1', b: '2' });
  const id = nextId();
  const part = await backUp(w, { id });
  await w.store.remove([
    `backups/${id}/manifest.json`,
    part.tree.key,
    `content/${'6b/6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b'}`,
  ]);
  w.asked.length = 0;
  await backUp(w);
  assert.equal(contentPuts(w.asked).length, 2, 'the pruned content and the tree');
});

test('a lost memory costs a listing, and a content of the wrong size is stored again', async () => {
  const w = world();
  write(w.uploads, { a: 'one', b: 'two' });
  const part = await backUp(w);
  rmSync(join(w.state, 'files'), { recursive: true });
  const [first] = readdirSync(join(w.stored, 'content')).filter((d) => !part.tree.key.includes(`/${d}/`));
  const [name] = readdirSync(join(w.stored, 'content', first ?? ''));
  truncateSync(join(w.stored, 'content', first ?? '', name ?? ''), 1);
  w.asked.length = 0;
  await backUp(w);
  assert.deepEqual(contentPuts(w.asked), [`put content/${first}/${name}`]);
});

test('a damaged memory is as good as none', async () => {
  const w = world();
  write(w.uploads, { a: 'one' });
  await backUp(w);
  const folder = join(w.state, 'files');
  for (const name of readdirSync(folder))
    writeFileSync(join(folder, name), '{"version":1,"backup":"x"}\n["a');
  assert.equal((await backUp(w)).files, 1);
});

test('another store and another recipient get everything', async () => {
  const w = world();
  write(w.uploads, { a: 'one' });
  const recipients = [
    'age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p',
    'age1lggyhqrw2nlhcxprm67z43rta597azn8gknawjehu9d9dl0jq3yqqvfafg',
  ];
  await backUp(w);
  for (const recipient of recipients) {
    w.asked.length = 0;
    await backUp(w, { sealer: await sealer(recipient) });
    assert.equal(contentPuts(w.asked).length, 2, recipient);
    assert.ok(contentPuts(w.asked).every((line) => line.endsWith(`.${recipient.slice(-8)}.age`)));
  }
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
