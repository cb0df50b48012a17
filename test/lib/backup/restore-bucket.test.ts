import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { parseBucket } from '../../../lib/backup/addresses.ts';
import { measureOf } from '../../../lib/backup/blobs.ts';
import type { BucketAccess } from '../../../lib/backup/bucket.ts';
import type { BucketPart, Restored } from '../../../lib/backup/manifest.ts';
import { bucketCopier, bucketRestorer, undoBucket } from '../../../lib/backup/restore-bucket.ts';
import { bucketSource } from '../../../lib/backup/save-bucket.ts';
import { checkContent } from '../../../lib/backup/verify.ts';
import { backUp, recoveryIn, type World, world } from './kit.ts';
import { MemoryServer } from './memory-bucket.ts';

const address = parseBucket('images?endpoint=http://minio:9000');
const access = { signal: new AbortController().signal } as BucketAccess;
const ID = '20260101-000000';
const PHOTO = { ContentType: 'image/png', Metadata: { owner: 'me' } };
const BACKED_UP = { 'a/photo': 'a photo', empty: '', third: '3' };
const LIVE = { 'a/photo': 'newer', empty: '', stranger: 'not in the backup' };

class App {
  readonly w: World = world();
  readonly server = new MemoryServer();
  readonly open = async () => this.server.bucket('images');

  constructor() {
    for (const [key, text] of Object.entries(BACKED_UP)) this.server.set('images', key, text, PHOTO);
  }

  /** The app goes on: one object changed, one deleted, one new. */
  change(): void {
    this.server.set('images', 'a/photo', 'newer');
    this.server.buckets.get('images')?.delete('third');
    this.server.set('images', 'stranger', 'not in the backup');
  }

  async backUp(changes = {}): Promise<BucketPart> {
    this.server.asked.length = 0;
    const source = bucketSource(address, access, this.open);
    return (await backUp(this.w, changes, source)) as unknown as BucketPart;
  }

  async restoreBeside(part: BucketPart): Promise<Restored> {
    const recovery = await recoveryIn(this.w, { id: ID });
    const restorer = bucketRestorer(part, address, access, recovery, this.open);
    await restorer.prepare();
    this.server.asked.length = 0;
    return restorer.restoreBeside(this.w.step);
  }

  readonly live = () => this.server.texts('images');
  readonly undo = () => undoBucket(address, access, this.w.state, this.open);
}

async function changed() {
  const app = new App();
  const part = await app.backUp();
  app.change();
  return { app, part };
}

test('a bucket is stored by content, with the headers of each object', async () => {
  const { w, server } = new App();
  const app = Object.assign(new App(), { w, server });
  const part = await app.backUp();
  assert.deepEqual([part.kind, part.files, part.bytesIn], ['bucket', 3, 8]);
  const lines = readFileSync(join(app.w.stored, part.tree.key), 'utf8').trimEnd().split('\n');
  const { etag, modified, ...photo } = JSON.parse(lines[0] ?? '');
  assert.ok(etag && modified);
  assert.deepEqual(photo, {
    key: 'a/photo',
    size: 7,
    sha256: measureOf(Buffer.from('a photo')).sha256,
    headers: PHOTO,
  });
});

test('unchanged objects are not read again, those with another ETag or new headers are', async () => {
  const app = new App();
  await app.backUp();
  await app.backUp();
  assert.deepEqual(app.server.asked, []);
  app.server.set('images', 'third', '4');
  app.server.set('images', 'empty', '', { ContentType: 'text/plain' });
  const part = await app.backUp();
  assert.deepEqual(app.server.asked.sort(), ['get images/empty', 'get images/third']);
  assert.match(readFileSync(join(app.w.stored, part.tree.key), 'utf8'), /"ContentType":"text\/plain"/);
});

test('an empty bucket is refused unless it is meant to be empty', async () => {
  const app = new App();
  app.server.buckets.get('images')?.clear();
  await assert.rejects(app.backUp(), /images: there is no object in the bucket images/);
  assert.equal((await app.backUp({ allowEmpty: true })).files, 0);
});

test('an object that vanishes before it is read is left out and counted', async () => {
  const app = new App();
  app.server.before = (request) => {
    if (request === 'get images/third') app.server.buckets.get('images')?.delete('third');
  };
  assert.equal((await app.backUp()).files, 2);
  assert.match(app.w.notes.at(-1) ?? '', /1 file vanished meanwhile/);
});

test('a large object that changes while it is read is read again, and named when it never stays', async () => {
  const app = new App();
  app.server.set('images', 'large', Buffer.alloc(9e6, 1));
  let gets = 0;
  const changing = (until: number) => (request: string) => {
    if (request !== 'get images/large') return;
    gets += 1;
    if (gets % 2 === 0 && gets <= until) app.server.set('images', 'large', Buffer.alloc(9e6, until + gets));
  };
  app.server.before = changing(2);
  assert.equal((await app.backUp()).files, 4);
  app.server.set('images', 'large', Buffer.alloc(9e6, 99));
  gets = 0;
  app.server.before = changing(100);
  await assert.rejects(app.backUp(), /images: the object "large" changed while it was read, 3 times/);
});

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
    await assert.rejects(app.restoreBeside(part), /restored-bucket-images.json is no journal of this part/);
    await assert.rejects(app.undo(), /is no journal of this part/);
    assert.deepEqual(app.live(), LIVE);
    assert.deepEqual(app.server.texts('other'), { 'a/photo': 'of another app' });
  }
});
