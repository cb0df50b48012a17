import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { catalog } from '../../../lib/backup/catalog.ts';
import { idOf } from '../../../lib/backup/id.ts';
import type { Manifest } from '../../../lib/backup/manifest.ts';
import { findUnreferenced } from '../../../lib/backup/references.ts';
import { judge, parsePolicy } from '../../../lib/backup/retention.ts';
import { age, backUp, nextId, recoveryIn, type World, world, write } from './kit.ts';

const hoursAgo = (hours: number) => new Date(Date.now() - hours * 3_600_000);

/** Puts objects that were stored so many hours ago. */
async function put(w: World, objects: Record<string, number>) {
  for (const [key, hours] of Object.entries(objects)) {
    await w.store.put(key, Buffer.from(key));
    age(join(w.stored, key), hours * 3_600);
  }
}

/** What prune would collect of a store without a finished backup. */
async function garbage(w: World) {
  const now = new Date();
  const kept = judge(await catalog(w.store), parsePolicy('daily=1'), now)
    .filter(({ reasons }) => reasons.length > 0)
    .map(({ entry }) => entry);
  const { decrypter } = await recoveryIn(w);
  return (await findUnreferenced(kept, { app: 'app', store: w.store, decrypter, stateDir: w.state }, now))
    .keys;
}

test('A10: what was stored since the oldest backup in progress began is not collected', async () => {
  const w = world();
  const id = idOf(hoursAgo(29));
  const begun = { [`backups/${id}/started.json`]: 29, [`backups/${id}/shop.dump`]: 1 };
  await put(w, { ...begun, 'content/aa/left': 40, 'content/aa/own': 28, 'content/aa/young': 2 });
  assert.deepEqual(await garbage(w), ['content/aa/left']);
  // Nobody has written to it for a day: it goes, and its contents with it.
  age(join(w.stored, `backups/${id}/shop.dump`), 25 * 3_600);
  assert.deepEqual(await garbage(w), ['content/aa/left', 'content/aa/own']);
});

test('A10: a backup in progress whose host has a clock that is ahead began when the store says', async () => {
  const w = world();
  const id = idOf(hoursAgo(25));
  await put(w, { [`backups/${id}/started.json`]: 31, [`backups/${id}/x.dump`]: 1, 'content/aa/own': 30 });
  assert.deepEqual(await garbage(w), []);
});

test('A10: a list of files that several kept backups have is read once', async () => {
  const w = world();
  write(w.uploads, { a: 'one' });
  const part = await backUp(w, { stateDir: undefined });
  const { decrypter } = await recoveryIn(w);
  const kept = [1, 2, 3].map(() => {
    const entry = { id: nextId(), state: 'complete' as const, started: new Date(), bytes: 0, objects: [] };
    return { ...entry, manifest: { parts: [part] } as unknown as Manifest };
  });
  w.asked.length = 0;
  const where = { app: 'app', store: w.store, decrypter, stateDir: w.state };
  const later = new Date(Date.now() + 48 * 3_600_000);
  assert.deepEqual((await findUnreferenced(kept, where, later)).keys, []);
  assert.deepEqual(w.asked, [`get ${part.tree.key}`, 'list content/']);
});
