import { type Entry, fetchManifest } from './catalog.ts';
import { CLOCK_TOLERANCE_MS, type Examined } from './examine.ts';
import { contentOf, type FilesPart, forgetTrees } from './files/lists.ts';
import type { Manifest } from './manifest.ts';
import { forgetManifests, recallManifest } from './memory.ts';
import { SETTLED_MS } from './prune.ts';
import type { Opener } from './seal.ts';
import type { Store } from './store.ts';

interface Where {
  app: string;
  store: Store;
  opener: Opener;
  stateDir: string;
}

/** Content that no kept backup refers to. */
export interface Garbage {
  keys: string[];
  bytes: number;
}

/**
 * Finds what no kept backup refers to, from this host's own memory where the store may not be read.
 * @throws Failure when neither knows what a kept backup refers to: then nothing may be collected
 */
export async function findGarbage(kept: readonly Examined[], where: Where, now: Date): Promise<Garbage> {
  // Where nothing has changed, backups share their list of files: it is read once.
  const lists = new Map<string, FilesPart>();
  for (const entry of kept) {
    if (entry.state === 'unfinished') continue;
    for (const part of (await manifestOf(entry, where)).parts)
      if ('tree' in part) lists.set(`${part.kind} ${part.tree.key}`, part);
  }
  const used = new Set<string>();
  for (const part of lists.values()) for (const key of await contentOf(part, where)) used.add(key);
  const settled = settledBy(kept, now);
  const garbage: Garbage = { keys: [], bytes: 0 };
  for await (const { key, bytes, modified } of where.store.list('content/')) {
    if (used.has(key) || modified.getTime() > settled) continue;
    garbage.keys.push(key);
    garbage.bytes += bytes;
  }
  return garbage;
}

/** What was stored later may belong to a backup that is being taken, however long ago it was begun. */
function settledBy(kept: readonly Examined[], now: Date): number {
  const begun = kept
    .filter(({ state }) => state === 'unfinished')
    .flatMap(({ started, objects }) => [started, ...objects.map(({ modified }) => modified)])
    .map((time) => time.getTime() - CLOCK_TOLERANCE_MS);
  return Math.min(now.getTime() - SETTLED_MS, ...begun);
}

const manifestOf = async (entry: Examined, { app, store, stateDir }: Where): Promise<Manifest> =>
  entry.manifest ?? recallManifest(stateDir, app, entry.id) ?? fetchManifest(store, app, entry);

/** Forgets what this host remembered for backups that are no more. */
export function forget(kept: readonly Entry[], { app, stateDir }: Pick<Where, 'app' | 'stateDir'>): void {
  const ids = new Set(kept.map((entry) => entry.id));
  const trees = new Set<string>();
  for (const id of ids) {
    for (const part of recallManifest(stateDir, app, id)?.parts ?? [])
      if ('tree' in part) trees.add(part.tree.sha256);
  }
  forgetManifests(stateDir, ids);
  forgetTrees(stateDir, trees);
}
