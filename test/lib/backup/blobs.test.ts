/* What a host knows of the contents in the store, and when that is not trusted. */
import assert from 'node:assert/strict';
import {
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { encrypter } from '../../../lib/backup/encryption.ts';
import {
  age,
  backUp,
  contentPuts,
  interfering,
  nextId,
  restoreBeside,
  uploadsOf,
  workIn,
  world,
  write,
} from './kit.ts';

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

test('A8: a file of the same size, time and inode that was written since is read again', async () => {
  const w = world();
  write(w.uploads, { same: 'v1' });
  await backUp(w);
  const before = statSync(join(w.uploads, 'same'));
  writeFileSync(join(w.uploads, 'same'), 'v2');
  utimesSync(join(w.uploads, 'same'), before.atimeMs / 1e3, before.mtimeMs / 1e3);
  const after = statSync(join(w.uploads, 'same'));
  assert.deepEqual([after.size, after.mtimeMs, after.ino], [before.size, before.mtimeMs, before.ino]);
  const restored = await restoreBeside(w, await backUp(w));
  assert.equal(readFileSync(join(restored.place, 'same'), 'utf8'), 'v2');
});

test('A8: a file that is written right after it was read is read again, however coarse the clock', async () => {
  const w = world();
  for (let i = 0; i < 20; i += 1) {
    write(w.uploads, { same: `a${i}` });
    const { atimeMs, mtimeMs } = statSync(join(w.uploads, 'same'));
    // The store is asked for the content while the file is open: it was read by then.
    const store = {
      ...w.store,
      put: (key: string, body: Uint8Array) => {
        writeFileSync(join(w.uploads, 'same'), `b${i}`);
        utimesSync(join(w.uploads, 'same'), atimeMs / 1e3, mtimeMs / 1e3);
        return w.store.put(key, body);
      },
    };
    await backUp(w, { store });
    const restored = await restoreBeside(w, await backUp(w));
    assert.equal(readFileSync(join(restored.place, 'same'), 'utf8'), `b${i}`);
    await restored.discard();
  }
});

test('A8: the memory of an older version costs one reading, and nothing is stored again', async () => {
  const w = world();
  write(w.uploads, { a: 'one', b: 'two' });
  await backUp(w);
  const folder = join(w.state, 'files');
  for (const name of readdirSync(folder)) {
    const older = readFileSync(join(folder, name), 'utf8').replaceAll(
      /"(\d+:[\d.]+):[\d.]+:(\d+)"/g,
      '"$1:$2"',
    );
    writeFileSync(join(folder, name), older);
  }
  w.asked.length = 0;
  await backUp(w);
  assert.deepEqual(
    w.asked.filter((line) => /put content|list content/.test(line)),
    [],
  );
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
    await backUp(w, { encrypter: await encrypter(recipient) });
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
