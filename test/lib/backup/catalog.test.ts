import assert from 'node:assert/strict';
import { Readable } from 'node:stream';
import { test } from 'node:test';
import { isFinished } from '../../../lib/backup/blobs.ts';
import { catalog, fetchManifest } from '../../../lib/backup/catalog.ts';
import type { Store } from '../../../lib/backup/store.ts';
import { onlyDescribe } from '../../../lib/script.ts';

onlyDescribe(() => {});
const { describe, refuseStale } = await import('../../../scripts/backup/list.ts');
const { deletionOrder } = await import('../../../scripts/backup/prune.ts');

/** A store that can only be listed. */
const holding = (...keys: string[]) =>
  ({
    async *list(prefix: string) {
      for (const key of keys) if (key.startsWith(prefix)) yield { key, bytes: 10, modified: new Date(0) };
    },
  }) as unknown as Store;

test('the name of the manifest says what a backup is, without reading it', async () => {
  const entries = await catalog(
    holding(
      'backups/20261121-030000/started.json',
      'backups/20261121-030000/app.dump',
      'backups/20261119-030000/started.json',
      'backups/20261119-030000/manifest.json',
      'backups/20261120-030000/manifest.partial.json',
      'backups/20261118-030000/manifest.json.old',
      'backups/README',
      'backups/20269999-030000/manifest.json',
      'content/aa/aaaa',
    ),
  );
  assert.deepEqual(
    entries.map(({ id, state, bytes, objects }) => [id, state, bytes, objects.length]),
    [
      ['20261118-030000', 'unfinished', 10, 1],
      ['20261119-030000', 'complete', 20, 2],
      ['20261120-030000', 'partial', 10, 1],
      ['20261121-030000', 'unfinished', 20, 2],
    ],
  );
});

test('a listing of a large and old store fits 80 columns', async () => {
  const entries = await catalog(
    holding('backups/20161119-030000/manifest.json', 'backups/20261121-023000/x'),
  );
  for (const entry of entries) entry.bytes = 999_940_000_000;
  const many = Array.from({ length: 999 }, () => entries).flat();
  const use = { contents: 9_999_999, contentBytes: 999_940_000_000, free: 999_940_000_000 };
  const text = describe('file:///backups/bloaty', many, use, new Date('2026-11-21T03:00:00Z'));
  assert.deepEqual(
    text.split('\n').filter((line) => line.length > 80),
    [],
  );
});

test('freshness goes by the newest complete one; the future is not fresh', async () => {
  const [newest] = await catalog(holding('backups/20261119-030000/manifest.json'));
  const fresh = (now: string, hours = 26) =>
    refuseStale('s3://b/app', newest, hours * 3_600_000, new Date(`${now}Z`));
  fresh('2026-11-20T05:00:00');
  fresh('2026-11-19T02:30:00');
  assert.throws(
    () => fresh('2026-11-20T05:00:01'),
    /20261119-030000, is 26 h 0 min old; the limit is 26 h 0 min/,
  );
  assert.throws(() => fresh('2026-11-18T05:00:00'), /is from the future: a clock is wrong/);
  assert.throws(
    () => refuseStale('s3://b/app', undefined, 1, new Date()),
    /no complete backup in s3:\/\/b\/app/,
  );
});

test('A10: a part that is called manifest is not taken for one', async () => {
  const id = '20261120-030000';
  const keys = ['manifest.dump', 'manifest.globals.json', 'manifest.json', 'started.json'].map(
    (name) => `backups/${id}/${name}`,
  );
  assert.equal(deletionOrder(id, keys)[0], `backups/${id}/manifest.json`);
  const there = (...names: string[]) =>
    isFinished(holding(...names.map((name) => `backups/${id}/${name}`)), id);
  assert.equal(await there('manifest.dump', 'manifest.globals.json'), false);
  assert.equal(await there('manifest.dump', 'manifest.json'), true);
  assert.equal(await there('manifest.partial.json'), true);
});

test('A7: a manifest without end is not read to it', async () => {
  const [entry] = await catalog(holding('backups/20261120-030000/manifest.json'));
  let given = 0;
  const endless = {
    ...holding(),
    get: async () =>
      Readable.from(
        (function* () {
          for (; given < 1000; given += 1) yield Buffer.alloc(1e6);
        })(),
      ),
  };
  await assert.rejects(
    fetchManifest(endless as never, 'app', entry as never),
    /bytes, which is too many for one/,
  );
  assert.ok(given < 100, `${given} MB`);
});
