import { Failure } from '../failure.ts';
import { duration } from '../format.ts';
import { type Entry, manifestKey, manifestText } from './catalog.ts';
import { type Manifest, type PartRecord, readManifest, type Stored } from './manifest.ts';
import { recallManifest } from './memory.ts';
import { Corrupted, type Listed, Missing, type Store, Unreadable } from './store.ts';

/** A backup after a look at what its name promises. Without a doubt it counts. */
export interface Examined extends Entry {
  manifest?: Manifest;
  /** Why it does not count: neither as the newest, nor as one for which another may be deleted. */
  doubt?: Failure;
}

interface Where {
  app: string;
  store: Store;
  /** Where this host remembers the manifests that it wrote, for a role that may not read them back. */
  stateDir?: string | undefined;
}

export type Examine = (entry: Entry) => Promise<Examined>;

/** So far two clocks may differ before one of them is wrong. */
export const CLOCK_TOLERANCE_MS = 3_600_000;
/** No backup takes longer, so that none can be dated back further than this. */
const LONGEST_MS = 3 * 86_400_000;
/** More than the manifest of any database with a name for each of its tables. */
const LARGEST_MANIFEST = 64e6;

/**
 * What examines the backups of a store: the manifest is read and is one, its parts are there in their sizes, and the
 * store's own times agree with the id. Whoever may only write to the store can make any name in it, but not that.
 */
export function examiner(where: Where): Examine {
  let mayRead = true;
  return async (entry) => {
    if (entry.state === 'unfinished') return entry;
    try {
      const manifest = await manifestOf(entry, where, mayRead);
      const doubt = await doubtOf(entry, manifest, where.store);
      return { ...entry, manifest, ...(doubt && { doubt: new Corrupted(`backup ${entry.id}: ${doubt}`) }) };
    } catch (error) {
      if (error instanceof Unreadable) mayRead = false;
      else if (!(error instanceof NoManifest)) throw error;
      return { ...entry, doubt: error instanceof NoManifest ? (error.cause as Failure) : error };
    }
  };
}

/** What is there is no manifest of this backup; the cause says why. */
class NoManifest extends Error {}

async function manifestOf(entry: Entry, where: Where, mayRead: boolean): Promise<Manifest> {
  const { id } = entry;
  const { app, store, stateDir } = where;
  try {
    if (!mayRead) throw notRead(entry, store);
    const { bytes = 0 } = manifestObject(entry) ?? {};
    if (bytes > LARGEST_MANIFEST)
      throw new Corrupted(`backup ${id}: its manifest has ${bytes} bytes: that is none`);
    const text = await manifestText(store, entry);
    try {
      return readManifest(text, app, id);
    } catch (cause) {
      throw cause instanceof Failure ? new NoManifest('', { cause }) : cause;
    }
  } catch (error) {
    if (error instanceof Missing || error instanceof Corrupted) throw new NoManifest('', { cause: error });
    const known = error instanceof Unreadable && stateDir ? recallManifest(stateDir, app, id) : undefined;
    if (known) return known;
    throw error;
  }
}

const notRead = ({ id }: Entry, store: Store) =>
  new Unreadable(
    `backup ${id} of ${store.uri}: its manifest may not be read, and this host did not write it`,
    {
      next: 'run it with the credentials of a reader',
    },
  );

const manifestObject = ({ id, state, objects }: Entry): Listed | undefined =>
  objects.find(({ key }) => key === manifestKey(id, state === 'complete'));

async function doubtOf(entry: Entry, manifest: Manifest, store: Store): Promise<string | undefined> {
  const { parts, complete } = manifest;
  if (complete !== (entry.state === 'complete'))
    return 'its name and its manifest differ in whether it is complete';
  if (parts.length === 0) return 'it has no parts';
  const late = untimely(entry, manifest);
  if (late) return late;
  for (const part of parts) {
    for (const { key, bytes } of objectsOf(part)) {
      const wrong = unlike(await look(key, entry, store), bytes);
      if (wrong) return `part ${part.name}: ${store.address(key)} ${wrong}`;
    }
  }
  return undefined;
}

function objectsOf(part: PartRecord): Stored[] {
  if (part.kind === 'postgres') return [part.dump, part.globals];
  return [part.kind === 'sqlite' ? part.dump : part.tree];
}

/** An object of a backup: its own, or a list of files, which is stored among the contents. */
async function look(key: string, { objects }: Entry, store: Store): Promise<Listed | undefined> {
  if (!key.startsWith('content/')) return objects.find((object) => object.key === key);
  for await (const object of store.list(key)) if (object.key === key) return object;
  return undefined;
}

function unlike(found: Listed | undefined, bytes: number): string | undefined {
  if (!found) return 'is not there';
  if (found.bytes === bytes) return undefined;
  return found.bytes < bytes
    ? `is truncated: ${found.bytes} of ${bytes} bytes`
    : `has ${found.bytes} bytes, not ${bytes}`;
}

/** The store's clock is the one that a writer cannot set. */
function untimely(entry: Entry, manifest: Manifest): string | undefined {
  const { started, objects } = entry;
  const finished = Date.parse(manifest.finished);
  const stored = manifestObject(entry)?.modified.getTime() ?? 0;
  const early = started.getTime() - stored;
  if (early > CLOCK_TOLERANCE_MS)
    return `it was stored ${duration(early)} before the time in its id: a clock was wrong, or it is forged`;
  if (finished - started.getTime() > LONGEST_MS || Date.parse(manifest.started) !== started.getTime())
    return 'its manifest and the time in its id differ';
  const late = Math.max(...objects.map(({ modified }) => modified.getTime())) - finished;
  if (late > CLOCK_TOLERANCE_MS)
    return `something of it was stored ${duration(late)} after it was finished: it was copied or written over`;
  return undefined;
}

/** Of the complete backups the newest that counts, and the newer ones that do not. */
export async function newestSound(
  entries: readonly Entry[],
  examine: Examine,
): Promise<{ newest: Examined | undefined; passed: Examined[] }> {
  const passed: Examined[] = [];
  for (const entry of entries.filter(({ state }) => state === 'complete').reverse()) {
    const examined = await examine(entry);
    if (!examined.doubt) return { newest: examined, passed };
    passed.push(examined);
  }
  return { newest: undefined, passed };
}
