import { Failure } from '../failure.ts';
import { duration } from '../format.ts';
import { forEach } from '../pool.ts';
import { type Entry, manifestObject, manifestText } from './catalog.ts';
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
  /** What says that backups are encrypted: then a plain one is in doubt. */
  encryptedBy?: EncryptionSetting | undefined;
}

type EncryptionSetting = 'BACKUP_RECIPIENT' | 'BACKUP_IDENTITY_FILE';

export type Examine = (entry: Entry) => Promise<Examined>;

/** So far two clocks may differ before one of them is wrong. */
export const CLOCK_TOLERANCE_MS = 3_600_000;
/** No backup takes longer, so that none can be dated back further than this. */
const LONGEST_MS = 14 * 86_400_000;

/**
 * What examines the backups of a store: the manifest is read and is one, its parts are there in their sizes, and the
 * store's own times agree with the id. Whoever may only write to the store can make any name in it, but not that.
 */
export function examiner(where: Where): Examine {
  let mayRead = true;
  const look = looking(where.store);
  return async (entry) => {
    if (entry.state === 'unfinished') return entry;
    try {
      const manifest = await manifestOf(entry, where, mayRead);
      const doubt =
        plainDoubt(manifest, where.encryptedBy) ?? (await doubtOf(entry, manifest, where.store, look));
      return { ...entry, manifest, ...(doubt && { doubt }) };
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

/** Every backup, examined, in the order of `entries`. */
export async function examineAll(
  entries: readonly Entry[],
  examine: Examine,
  signal: AbortSignal,
): Promise<Examined[]> {
  const examined: Examined[] = [];
  await forEach(entries.entries(), {
    signal,
    weigh: ([, entry]) => manifestObject(entry)?.bytes ?? 0,
    act: async ([i, entry]) => {
      examined[i] = await examine(entry);
    },
  });
  return examined;
}

/** Which setting says that backups are encrypted, unless plain ones are allowed. */
export function encryptedBy(
  settings: { [setting in EncryptionSetting]?: unknown },
  allowPlain?: boolean,
): EncryptionSetting | undefined {
  if (allowPlain) return undefined;
  if (settings.BACKUP_IDENTITY_FILE !== undefined) return 'BACKUP_IDENTITY_FILE';
  return settings.BACKUP_RECIPIENT === undefined ? undefined : 'BACKUP_RECIPIENT';
}

/** What is wrong with a backup that is not encrypted where backups are. */
export function plainDoubt(
  { id, recipient }: Manifest,
  by: EncryptionSetting | undefined,
): Corrupted | undefined {
  if (recipient !== null || by === undefined) return undefined;
  return new Corrupted(
    `backup ${id} is not encrypted, though ${by} is set: whoever may write to the store may have made it`,
    'restore another; or, if it is older than your encryption, say so: --allow-plain',
  );
}

async function doubtOf(
  entry: Entry,
  manifest: Manifest,
  store: Store,
  look: Look,
): Promise<Corrupted | undefined> {
  const doubt = await contradiction(entry, manifest, store, look);
  return doubt === undefined ? undefined : new Corrupted(`backup ${entry.id}: ${doubt}`);
}

async function contradiction(
  entry: Entry,
  manifest: Manifest,
  store: Store,
  look: Look,
): Promise<string | undefined> {
  const { parts, complete } = manifest;
  if (complete !== (entry.state === 'complete'))
    return 'its name and its manifest differ in whether it is complete';
  if (parts.length === 0) return 'it has no parts';
  const late = untimely(entry, manifest);
  if (late) return late;
  for (const part of parts) {
    for (const { key, bytes } of objectsOf(part)) {
      const wrong = unlike(await look(key, entry), key, bytes);
      if (wrong) return `part ${part.name}: ${store.address(key)} ${wrong}`;
    }
  }
  return undefined;
}

function objectsOf(part: PartRecord): Stored[] {
  if (part.kind === 'postgres') return [part.dump, part.globals];
  return [part.kind === 'sqlite' ? part.dump : part.tree];
}

type Look = (key: string, entry: Entry) => Promise<Listed | undefined>;

/** Looks for an object of a backup: its own, or a list of files, a content that many backups may share. */
function looking(store: Store): Look {
  const contents = new Map<string, Promise<Listed | undefined>>();
  const listed = async (key: string) => {
    for await (const object of store.list(key)) if (object.key === key) return object;
    return undefined;
  };
  return async (key, { objects }) => {
    if (!key.startsWith('content/')) return objects.find((object) => object.key === key);
    const found = contents.get(key) ?? listed(key);
    contents.set(key, found);
    return found;
  };
}

function unlike(found: Listed | undefined, key: string, bytes: number): string | undefined {
  if (!found) return 'is not there';
  if (holds(found, key, bytes)) return undefined;
  return found.bytes < bytes
    ? `is truncated: ${found.bytes} of ${bytes} bytes`
    : `has ${found.bytes} bytes, not ${bytes}`;
}

/** Whether an object has its bytes. Of an encrypted content the plain ones are known, and that sealing only adds. */
export const holds = (found: Listed, key: string, bytes: number): boolean =>
  key.startsWith('content/') && key.endsWith('.age') ? found.bytes >= bytes : found.bytes === bytes;

/** The store's clock is the one that a writer cannot set. */
function untimely(entry: Entry, manifest: Manifest): string | undefined {
  const { started, objects } = entry;
  const finished = Date.parse(manifest.finished);
  const stored = manifestObject(entry);
  const early = started.getTime() - (stored?.modified.getTime() ?? 0);
  if (early > CLOCK_TOLERANCE_MS)
    return `it was stored ${duration(early)} before the time in its id: a clock was wrong, or it is forged`;
  if (Date.parse(manifest.started) !== started.getTime()) return 'its manifest and the time in its id differ';
  const took = finished - started.getTime();
  if (took > LONGEST_MS)
    return `it says that it took ${duration(took)}: longer than the ${duration(LONGEST_MS)} that one may take`;
  // What else lies there, of a file manager or of whoever may write, is none of it.
  const own = new Set([stored?.key, ...manifest.parts.flatMap(objectsOf).map(({ key }) => key)]);
  const times = objects.flatMap(({ key, modified }) => (own.has(key) ? modified.getTime() : []));
  const late = Math.max(...times) - finished;
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
