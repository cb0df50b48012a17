import assert from 'node:assert/strict';
import { test } from 'node:test';
import { writingOnce } from '../../../lib/backup/open.ts';
import type { Store } from '../../../lib/backup/store.ts';

test('F1: no object of a backup is written twice, whatever writes it', async () => {
  const stored: string[] = [];
  const store = writingOnce({
    address: (key: string) => key,
    put: async (key: string) => void stored.push(key),
    putStream: async (key: string) => void stored.push(key),
  } as unknown as Store);
  await store.put('backups/1/a', new Uint8Array());
  await store.put('content/aa/a', new Uint8Array());
  await store.put('content/aa/a', new Uint8Array());
  assert.throws(
    () => store.putStream('backups/1/a', (async function* () {})(), 0),
    /backups\/1\/a would be written twice/,
  );
  assert.equal(stored.length, 3);
});
