import type { Step } from '../output.ts';
import { forEach } from '../pool.ts';
import { contentKey } from './blobs.ts';
import { fetchManifest, localManifest } from './catalog.ts';
import { type Examined, holds } from './examine.ts';
import { CLOCK_TOLERANCE_MS, SETTLED_MS } from './id.ts';
import type { PartRecord, Recovery } from './manifest.ts';
import type { Listed, Store } from './store.ts';
import { contentFlow, Damaged, isDamage } from './transfer.ts';
import {
  type Content,
  contentOf,
  contentsOfTree,
  copiedTree,
  type FilesPart,
  type Reader,
  readTree,
  suffixOfPart,
} from './tree.ts';

/*
 * Files are stored once for all backups, each as a content under its SHA-256; trees refer to them. Here is what of that
 * is there, how much it is, and what nothing refers to.
 */

/**
 * Reads every content of a part from the store and compares its SHA-256.
 * @returns a line for each that is missing, truncated or another, with a file that it belongs to
 */
export async function checkContent(
  part: FilesPart,
  reading: Pick<Recovery, 'store' | 'decrypter' | 'signal'>,
  step: Step,
): Promise<string[]> {
  let contents: Content[];
  try {
    const { store, decrypter } = reading;
    contents = [...contentsOfTree(await readTree(part, { store, decrypter }), part).values()];
  } catch (error) {
    if (isDamage(error)) return [error.message];
    throw error;
  }
  const total = contents.length;
  const suffix = suffixOfPart(part);
  const problems: string[] = [];
  let done = 0;
  await forEach(contents, {
    signal: reading.signal,
    act: async ({ sha256, bytes, path }) => {
      const label = `${part.name}: ${path}`;
      const content = { key: contentKey(sha256, suffix), measure: { sha256, bytes }, label };
      try {
        for await (const _ of contentFlow(reading, content));
      } catch (error) {
        if (!isDamage(error)) throw error;
        problems.push(error instanceof Damaged ? error.message : `${label}: ${error.message}`);
      }
      done += 1;
      step.progress({ done, total, unit: 'files' });
    },
  });
  return problems.sort();
}

/**
 * Looks in a listing whether every content of a part is there and long enough, for those who may not read it. Without
 * the copy of the tree that the host keeps which took the backup, only the tree is looked for.
 */
export async function checkPresence(
  part: FilesPart,
  { store, stateDir }: { store: Store; stateDir: string },
): Promise<string[]> {
  const tree = copiedTree(stateDir, part.tree.sha256);
  const contents: Content[] = [{ ...part.tree, path: 'its list of files' }];
  if (tree) contents.push(...contentsOfTree(tree, part).values());
  const there = await contentsIn(store);
  const suffix = suffixOfPart(part);
  return contents.flatMap(({ sha256, bytes, path }) => {
    const key = contentKey(sha256, suffix);
    const found = there.get(key);
    const content = `${part.name}: ${path}: its content ${store.address(key)}`;
    if (!found) return [`${content} is missing`];
    return found.bytes < bytes ? [`${content} has ${found.bytes} of ${bytes} bytes`] : [];
  });
}

/**
 * Resolves for a part to what the store proves of how much is in it: the size of its dump, or of the contents that its
 * tree names. The store is listed once, each tree read once.
 */
export function storedBytes(reader: Reader): (part: PartRecord) => Promise<number> {
  let listing: ReturnType<typeof contentsIn> | undefined;
  const known = new Map<string, Promise<number>>();
  const bytesOf = async (part: FilesPart) => {
    const contents = contentsOfTree(await readTree(part, reader), part);
    listing ??= contentsIn(reader.store);
    const there = await listing;
    const suffix = suffixOfPart(part);
    let sum = 0;
    for (const { sha256, bytes } of contents.values()) {
      const key = contentKey(sha256, suffix);
      const found = there.get(key);
      if (found && holds(found, key, bytes)) sum += bytes;
    }
    return sum;
  };
  return async (part) => {
    if (!('tree' in part)) return part.dump.bytes;
    const sum = known.get(part.tree.key) ?? bytesOf(part);
    known.set(part.tree.key, sum);
    return sum;
  };
}

async function contentsIn(store: Store): Promise<Map<string, Listed>> {
  const there = new Map<string, Listed>();
  for await (const object of store.list('content/')) there.set(object.key, object);
  return there;
}

/**
 * Finds the contents that no kept backup refers to, by the copies in this host's state where the store may not be read.
 * @throws Failure when what a kept backup refers to is known neither here nor there: then nothing may be deleted
 */
export async function findUnreferenced(
  kept: readonly Examined[],
  reader: Reader & { app: string; stateDir: string },
  now: Date,
): Promise<{ keys: string[]; bytes: number }> {
  const used = new Set<string>();
  for (const part of await partsWithTrees(kept, reader))
    for (const key of await contentOf(part, reader)) used.add(key);
  const settled = settledBy(kept, now);
  const found = { keys: [] as string[], bytes: 0 };
  for await (const { key, bytes, modified } of reader.store.list('content/')) {
    if (used.has(key) || modified.getTime() > settled) continue;
    found.keys.push(key);
    found.bytes += bytes;
  }
  return found;
}

/** One part for each tree: where nothing has changed, backups share their list of files, and it is read once. */
async function partsWithTrees(
  kept: readonly Examined[],
  { app, store, stateDir }: { app: string; store: Store; stateDir: string },
): Promise<Iterable<FilesPart>> {
  const trees = new Map<string, FilesPart>();
  for (const entry of kept.filter(({ state }) => state !== 'unfinished')) {
    const manifest = entry.manifest ?? localManifest(stateDir, app, entry.id);
    const { parts } = manifest ?? (await fetchManifest(store, app, entry));
    for (const part of parts) if ('tree' in part) trees.set(`${part.kind} ${part.tree.key}`, part);
  }
  return trees.values();
}

/** What was stored later may belong to a backup that is being taken, however long ago it was begun. */
function settledBy(kept: readonly Examined[], now: Date): number {
  const begun = kept
    .filter(({ state }) => state === 'unfinished')
    .flatMap(({ started, objects }) => [started, ...objects.map(({ modified }) => modified)])
    .map((time) => time.getTime() - CLOCK_TOLERANCE_MS);
  return Math.min(now.getTime() - SETTLED_MS, ...begun);
}
