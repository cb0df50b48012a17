import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bucketAccess } from '../../../lib/backup/sources.ts';
import { localHost } from '../../../lib/hosts/local.ts';
import { Secret } from '../../../lib/secret.ts';

const where = { host: localHost(), signal: new AbortController().signal } as Parameters<
  typeof bucketAccess
>[1];
const access = (keys: Record<string, unknown>) =>
  bucketAccess({ APP_DIR: '/opt/app', ...keys } as Parameters<typeof bucketAccess>[0], where);

test('the keys of buckets go together', () => {
  const message = /BUCKET_ACCESS_KEY_ID and BUCKET_SECRET_ACCESS_KEY go together/;
  assert.throws(() => access({ BUCKET_ACCESS_KEY_ID: 'images' }), message);
  assert.throws(() => access({ BUCKET_SECRET_ACCESS_KEY: new Secret('hidden') }), message);
  const both = access({ BUCKET_ACCESS_KEY_ID: 'images', BUCKET_SECRET_ACCESS_KEY: new Secret('hidden') });
  assert.equal(both.credentials?.accessKeyId, 'images');
  assert.equal(access({}).credentials, undefined);
});
