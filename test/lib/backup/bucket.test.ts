/* How buckets are named: by the settings, beside another, and in a compose service. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, test } from 'node:test';
import { parseBucket } from '../../../lib/backup/addresses.ts';
import { type BucketAccess, openBucket, siblingName } from '../../../lib/backup/bucket.ts';
import { type Command, wordsOf } from '../../../lib/command.ts';
import { Secret } from '../../../lib/secret.ts';

const ID = '20260101-000000';

const addresses: Array<[string, unknown]> = [
  ['images', { name: 'images', uri: 'images' }],
  [
    'images?endpoint=http://minio:9000/',
    {
      name: 'images',
      uri: 'images?endpoint=http://minio:9000/',
      endpoint: { url: 'http://minio:9000' },
    },
  ],
  [
    'images?endpoint=compose://minio:9000',
    {
      name: 'images',
      uri: 'images?endpoint=compose://minio:9000',
      endpoint: { service: 'minio', port: 9000 },
    },
  ],
];
for (const [raw, wanted] of addresses) {
  test(`BACKUP_BUCKETS may have ${raw}`, () => assert.deepEqual(parseBucket(raw), wanted));
}
const wrong: Array<[string, RegExp]> = [
  ['i', /not the name of a bucket/],
  ['im ages', /not the name of a bucket/],
  ['images?region=x', /parameter region/],
  ['images?endpoint=minio:9000', /neither http\(s\)/],
  ['images?endpoint=compose://minio', /neither http\(s\)/],
  ['images?endpoint=http://me:secret@minio:9000', /BUCKET_ACCESS_KEY_ID/],
];
for (const [raw, message] of wrong) {
  test(`BACKUP_BUCKETS may not have ${raw}`, () => {
    assert.throws(
      () => parseBucket(raw),
      (error: Error) => message.test(error.message) && !/secret/.test(error.message),
    );
  });
}

test('names of buckets beside another are of a length and of characters that servers take', () => {
  assert.equal(siblingName('images', `-before-${ID}`), 'images-before-20260101-000000');
  assert.equal(siblingName('My_Images', '-x'), 'my-images-x');
  const long = siblingName('a'.repeat(63), `-before-${ID}-2`);
  assert.equal(long.length, 63);
  assert.ok(long.endsWith(`-before-${ID}-2`));
});

test('a bucket in a compose service is found at the address of its container', async () => {
  const heads: string[] = [];
  const server = createServer(({ method, url }, response) => {
    heads.push(`${method} ${url}`);
    response.writeHead(404).end();
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  after(() => server.close());
  const { port } = server.address() as AddressInfo;
  const ran: string[] = [];
  const running = (container: string | undefined) =>
    ({
      compose: { container: async () => container },
      host: {
        run: async (command: Command) => {
          const argv = wordsOf(command);
          ran.push(`${argv.slice(0, 2).join(' ')} … ${argv.at(-1)}`);
          return '\n127.0.0.1\n';
        },
      },
      credentials: { accessKeyId: 'app', secretAccessKey: new Secret('not told to anyone') },
      signal: new AbortController().signal,
    }) as unknown as BucketAccess;
  const ofService = parseBucket(`images?endpoint=compose://minio:${port}`);
  const bucket = await openBucket(ofService, running('app-minio-1'));
  assert.equal(await bucket.exists(), false);
  assert.deepEqual(ran, ['docker inspect … app-minio-1']);
  assert.deepEqual(heads, ['HEAD /images/']);
  await assert.rejects(
    openBucket(ofService, running(undefined)),
    /the compose service minio .* does not run/,
  );
});
