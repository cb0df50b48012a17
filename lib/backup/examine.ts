import { Failure } from '../failure.ts';
import { duration } from '../format.ts';
import { forEach } from '../pool.ts';
import { type Entry, localManifest, manifestObject, manifestText } from './catalog.ts';
import { CLOCK_TOLERANCE_MS } from './id.ts';
import { type Manifest, type PartRecord, readManifest, type Stored } from './manifest.ts';
import { Corrupted, type Listed, Missing, type Store, Unreadable } from './store.ts';

/** A backup that was examined. Without a doubt it counts. */
export interface Examined extends Entry {
  manifest?: Manifest;
  /** Why it does not count: neither as the newest, nor as one for which another may be deleted. */
  doubt?: Failure;
}

interface Where {
  app: string;
  store: Store;
  /** Where this host has the manifests that it wrote, for a role that may not read them back. */
  stateDir?: string | undefined;
  /** What says that backups are encrypted: then a plain one is in doubt. */
  encryptedBy?: EncryptionSetting | undefined;
}

type EncryptionSetting = 'BACKUP_RECIPIENT' | 'BACKUP_IDENTITY_FILE';

export type Examine = (entry: Entry) => Promise<Examined>;

/** No backup takes longer, so that none can be dated back further than this. */
const LONGEST_MS = 14 * 86_400_000;

/**
 * What examines the backups of a store: the manifest is read and is one, its parts are there in their sizes, and the
 * store's own times agree with the id. Whoever may only write to the store can make any name in it, but not that.
 */
export function examiner(where: Where): Examine {
  let mayRead = true;
  const find = finder(where.store);
  return async (entry) => {
    if (entry.state === 'unfinished') return entry;
    try {
      const manifest = await manifestOf(entry, where, mayRead);
      if (manifest instanceof Failure) return { ...entry, doubt: manifest };
      const plain = plainDoubt(manifest, where.encryptedBy);
      const wrong = plain ? undefined : await contradiction(entry, manifest, where.store, find);
      const doubt = wrong === undefined ? plain : new Corrupted(`backup ${entry.id}: ${wrong}`);
      return { ...entry, manifest, ...(doubt && { doubt }) };
    } catch (error) {
      if (!(error instanceof Unreadable)) throw error;
      mayRead = false;
      return { ...entry, doubt: error };
    }
  };
}

/**
 * The manifest of a backup, or why what is there is not one.
 * @throws Unreadable when it may not be read and this host did not write it
 */
async function manifestOf(entry: Entry, where: Where, mayRead: boolean): Promise<Manifest | Failure> {
  const { app, store, stateDir } = where;
  let text: string;
  try {
    if (!mayRead) throw notRead(entry, store);
    text = await manifestText(store, entry);
  } catch (error) {
    if (error instanceof Missing || error instanceof Corrupted) return error;
    const local =
      error instanceof Unreadable && stateDir ? localManifest(stateDir, app, entry.id) : undefined;
    if (local) return local;
    throw error;
  }
  try {
    return readManifest(text, app, entry.id);
  } catch (error) {
    if (error instanceof Failure) return error;
    throw error;
  }
}

const notRead = ({ id }: Entry, store: Store) =>
  new Unreadable(
    `backup ${id} of ${store.uri}: its manifest may not be read, and this host did not write it`,
    { next: 'run it with the credentials of a reader' },
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

/**
 * Doubts a plain backup that is newer than an encrypted one: whoever may write to the store may have made it. Those
 * before it are older than the encryption.
 */
export function doubtPlain(
  entries: readonly Examined[],
  by: EncryptionSetting | undefined,
): readonly Examined[] {
  const first = entries.findIndex(({ manifest, doubt }) => manifest && manifest.recipient !== null && !doubt);
  if (first < 0) return entries;
  return entries.map((entry, i) => {
    const doubt = entry.doubt ?? (i > first && entry.manifest ? plainDoubt(entry.manifest, by) : undefined);
    return doubt ? { ...entry, doubt } : entry;
  });
}

/** What a backup's name, its manifest and the store disagree on. */
async function contradiction(
  entry: Entry,
  manifest: Manifest,
  store: Store,
  find: Find,
): Promise<string | undefined> {
  const { parts, complete } = manifest;
  if (complete !== (entry.state === 'complete'))
    return 'its name and its manifest differ in whether it is complete';
  if (parts.length === 0) return 'it has no parts';
  const late = untimely(entry, manifest);
  if (late) return late;
  for (const part of parts) {
    for (const { key, bytes } of objectsOf(part)) {
      const wrong = unlike(await find(key, entry), key, bytes);
      if (wrong) return `part ${part.name}: ${store.address(key)} ${wrong}`;
    }
  }
  return undefined;
}

/** What a part has in the store under keys of its own: its dump, or its list of files. */
export function objectsOf(part: PartRecord): Stored[] {
  if (part.kind === 'postgres') return [part.dump, part.globals];
  return [part.kind === 'sqlite' ? part.dump : part.tree];
}

type Find = (key: string, entry: Entry) => Promise<Listed | undefined>;

/** Finds an object of a backup: its own, or a list of files, a content that many backups may share. */
function finder(store: Store): Find {
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

/** Whether an object has its bytes. Of an encrypted content the plain ones are known, and encryption only adds to them. */
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
  // What else lies there, of a file manager or of whoever may write, does not belong to it.
  const own = new Set([stored?.key, ...manifest.parts.flatMap(objectsOf).map(({ key }) => key)]);
  const times = objects.flatMap(({ key, modified }) => (own.has(key) ? modified.getTime() : []));
  const late = Math.max(...times) - finished;
  if (late > CLOCK_TOLERANCE_MS)
    return `something of it was stored ${duration(late)} after it was finished: it was copied or written over`;
  return undefined;
}

/** Whether nothing of a backup was stored before the time in its id: otherwise it was not taken then. */
export const isTimely = ({ started, objects }: Entry): boolean =>
  objects.every(({ modified }) => started.getTime() - modified.getTime() < CLOCK_TOLERANCE_MS);

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
