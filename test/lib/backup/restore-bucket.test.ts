import assert from 'node:assert/strict';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { parseBucket } from '../../../lib/backup/addresses.ts';
import { measureOf } from '../../../lib/backup/blobs.ts';
import { siblingName } from '../../../lib/backup/bucket.ts';
import { checkContent } from '../../../lib/backup/references.ts';
import { bucketCopier, undoBucket } from '../../../lib/backup/restore-bucket.ts';
import { App, access, address, BACKED_UP, ID, LIVE, PHOTO } from './bucket-app.ts';
import { recoveryIn, world } from './kit.ts';
import { MemoryServer } from './memory-bucket.ts';

async function changed() {
  const app = new App();
  const part = await app.backUp();
  app.change();
  return { app, part };
}

test('a restore brings back what differs, leaves strangers, and keeps what it replaces', async () => {
  const { app, part } = await changed();
  const restored = await app.restoreBeside(part);
  assert.deepEqual(await restored.compare(), []);
  assert.deepEqual(app.live(), LIVE, 'nothing live is touched before the swap');
  assert.deepEqual(app.server.texts('images-opsbook-restoring'), { 'a/photo': 'a photo', third: '3' });
  const kept = await restored.swapIn();
  assert.equal(kept, `images-before-${ID}`);
  assert.deepEqual(app.live(), { ...BACKED_UP, stranger: 'not in the backup' });
  assert.deepEqual(app.server.texts(kept), { 'a/photo': 'newer' });
  assert.deepEqual(app.server.buckets.get('images')?.get('third')?.headers, PHOTO);
  assert.deepEqual([...app.server.buckets.keys()], ['images', kept]);
  assert.match(app.w.notes.at(-1) ?? '', /2 objects that differed; 1 not in the backup left alone/);
});

test('an undo puts back what was there and keeps what it takes away', async () => {
  const { app, part } = await changed();
  await (await app.restoreBeside(part)).swapIn();
  const { id, kept } = await app.undo();
  assert.deepEqual([id, kept], [ID, `images-undone-${ID}`]);
  assert.deepEqual(app.live(), LIVE);
  assert.deepEqual(app.server.texts(kept), { 'a/photo': 'a photo', third: '3' });
  await assert.rejects(app.undo(), /no restore to undo/);
});

test('a swap is taken back when another part fails', async () => {
  const { app, part } = await changed();
  const restored = await app.restoreBeside(part);
  await restored.swapIn();
  await restored.swapBack();
  await restored.discard();
  assert.deepEqual(app.live(), LIVE);
  assert.deepEqual([...app.server.buckets.keys()], ['images']);
});

test('a bucket that is gone is made again', async () => {
  const { app, part } = await changed();
  app.server.buckets.delete('images');
  await (await app.restoreBeside(part)).swapIn();
  assert.deepEqual(app.live(), BACKED_UP);
});

test('a damaged content fails the restore with object and key, and leaves nothing behind', async () => {
  const { app, part } = await changed();
  const { sha256 } = measureOf(Buffer.from('a photo'));
  writeFileSync(join(app.w.stored, 'content', sha256.slice(0, 2), sha256), 'a foto!');
  await assert.rejects(app.restoreBeside(part), /images: "a\/photo": its content file:.* is damaged/);
  assert.deepEqual(app.live(), LIVE);
  assert.deepEqual([...app.server.buckets.keys()], ['images']);
  const problems = await checkContent(part, await recoveryIn(app.w), app.w.step);
  assert.match(
    problems.join('\n'),
    /^images: a\/photo: its content .* is damaged: its SHA-256 is [0-9a-f]{64}$/,
  );
});

test('a restore to another bucket needs an empty or absent one', async () => {
  const { app, part } = await changed();
  const copier = bucketCopier(part, 'images-drill', address, access, await recoveryIn(app.w), app.open);
  await copier.prepare();
  const copy = await copier.restoreBeside(app.w.step);
  assert.deepEqual(await copy.compare(), []);
  assert.deepEqual(app.server.texts('images-drill'), BACKED_UP);
  await assert.rejects(copier.prepare(), /bucket images-drill is not empty: it has "a\/photo"/);
  app.server.set('images-drill', 'third', 'longer');
  app.server.set('images-drill', 'new', '');
  assert.deepEqual(await copy.compare(), ['"third": size is 6, was 1', '"new": is not in the backup']);
  await copy.discard();
  assert.equal(app.server.texts('images-drill'), undefined);
});

/** Requests after which the run is as good as killed: all later ones fail, too. */
function killedAt(server: MemoryServer, n: number): void {
  let count = 0;
  server.before = (request) => {
    count += 1;
    if (count >= n) throw new Error(`killed at ${request}`);
  };
}

/** create before, 1 kept, 2 written. */
const REQUESTS = 4;

for (let n = 1; n <= REQUESTS; n += 1) {
  test(`a swap of a bucket that is killed at request ${n} is refused by a backup and put back`, async () => {
    const { app, part } = await changed();
    const restored = await app.restoreBeside(part);
    killedAt(app.server, n);
    await assert.rejects(restored.swapIn(), /killed/);
    app.server.before = () => {};
    if (existsSync(join(app.w.state, 'restored-bucket-images.json'))) {
      await assert.rejects(app.backUp(), /the restore of 20260101-000000 was cut off while it wrote objects/);
    }
    if (n % 2 === 0) await app.undo();
    else await app.restoreBeside(part);
    assert.deepEqual(app.live(), LIVE);
    assert.ok(!existsSync(join(app.w.state, 'restored-bucket-images.json')));
    await (await app.restoreBeside(part)).swapIn();
    assert.deepEqual(app.live(), { ...BACKED_UP, stranger: 'not in the backup' });
  });
}

for (let n = 1; n <= 5; n += 1) {
  test(`an undo of a bucket that is killed at request ${n} is finished by the next`, async () => {
    const { app, part } = await changed();
    await (await app.restoreBeside(part)).swapIn();
    killedAt(app.server, n);
    await assert.rejects(app.undo(), /killed/);
    app.server.before = () => {};
    const { kept } = await app.undo();
    assert.deepEqual(app.live(), LIVE);
    assert.deepEqual(app.server.texts(kept), { 'a/photo': 'a photo', third: '3' });
  });
}

test('a server that refuses once while objects are written has everything put back', async () => {
  const { app, part } = await changed();
  const restored = await app.restoreBeside(part);
  let refused = false;
  app.server.before = (request) => {
    if (refused || !request.startsWith('copy images-opsbook-restoring/third')) return;
    refused = true;
    throw new Error('SlowDown');
  };
  await assert.rejects(restored.swapIn(), /SlowDown/);
  assert.deepEqual(app.live(), LIVE);
});

test('A5: a journal that names another bucket copies and drops nothing', async () => {
  for (const forged of [{ before: 'other' }, { undone: 'other' }, { phase: 'x' }, { id: 'x' }]) {
    const { app, part } = await changed();
    app.server.set('other', 'a/photo', 'of another app');
    const journal = {
      ...{ part: 'images', id: ID, overwritten: ['a/photo'], added: [], phase: 'undo-writing' },
      ...{ before: `images-before-${ID}-2`, undone: `images-undone-${ID}`, ...forged },
    };
    writeFileSync(join(app.w.state, 'restored-bucket-images.json'), JSON.stringify(journal));
    await assert.rejects(
      app.restoreBeside(part),
      /restored-bucket-images.json is not a journal of this part/,
    );
    await assert.rejects(app.undo(), /is not a journal of this part/);
    assert.deepEqual(app.live(), LIVE);
    assert.deepEqual(app.server.texts('other'), { 'a/photo': 'of another app' });
  }
});

const journal = {
  part: 'images',
  id: ID,
  before: `images-before-${ID}`,
  overwritten: [],
  added: [],
  phase: 'done',
};
const journals: Array<[string, unknown, RegExp]> = [
  [
    'the bucket of another app',
    { ...journal, before: 'customers' },
    /names "customers", which is not one of its buckets/,
  ],
  [
    'a bucket of another name like ours',
    { ...journal, before: `other-before-${ID}` },
    /not one of its buckets/,
  ],
  ['another part', { ...journal, part: 'other' }, /part: is not images/],
  ['a phase that is none', { ...journal, phase: 'constructor' }, /phase: /],
  ['an id that is none', { ...journal, id: '../x' }, /id: is not the id of a backup/],
  ['keys that are none', { ...journal, added: 'all' }, /added: /],
];
for (const [kind, forged, message] of journals) {
  test(`A3: a journal of a bucket's restore that names ${kind} is refused, and nothing is removed`, async () => {
    const w = world();
    const server = new MemoryServer();
    for (const bucket of ['images', 'customers', `other-before-${ID}`]) server.set(bucket, 'a', 'precious');
    writeFileSync(join(w.state, 'restored-bucket-images.json'), JSON.stringify(forged));
    const open = async () => server.bucket('images');
    await assert.rejects(undoBucket(address, access, w.state, open), message);
    for (const bucket of ['images', 'customers', `other-before-${ID}`])
      assert.deepEqual(server.texts(bucket), { a: 'precious' });
  });
}

test('A3: the second bucket of one restore, and one whose name was cut, are ours', async () => {
  for (const name of ['images', 'a'.repeat(60)]) {
    const w = world();
    const server = new MemoryServer();
    const before = siblingName(name, `-before-${ID}-2`);
    for (const bucket of [name, before]) server.set(bucket, 'a', bucket);
    writeFileSync(
      join(w.state, `restored-bucket-${name}.json`),
      JSON.stringify({ ...journal, part: name, before, overwritten: ['a'] }),
    );
    await undoBucket(parseBucket(name), access, w.state, async () => server.bucket(name));
    assert.deepEqual(server.texts(name), { a: before });
  }
});
