import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { measureOf } from '../../../lib/backup/blobs.ts';
import { App, PHOTO } from './bucket-app.ts';

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
