import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { Failure } from '../failure.ts';
import { bytes, duration } from '../format.ts';
import { forEach } from '../pool.ts';
import { folderIn, readKept, removeOthers, writeWhole } from '../state.ts';
import { type Manifest, type PartRecord, readManifest, type Stored } from './manifest.ts';
import { CLOCK_TOLERANCE_MS, dateOf, manifestKey } from './schema.ts';
import { Corrupted, type Listed, Missing, type Store, Unreadable } from './store.ts';

/**
 * `complete`: every part that the settings named; `partial`: those that were asked for; `unfinished`: no manifest,
 * so that it does not exist for anything but `list` and `prune`.
 */
export type State = 'complete' | 'partial' | 'unfinished';

/**
 * A backup as a listing of the store shows it: nothing is read, so that a write-only role may look. Whoever may write
 * to the store chooses these names: what they say is believed after `examine.ts` only.
 */
export interface Entry {
  id: string;
  state: State;
  started: Date;
  /** Of its own objects: dumps and manifest; files are stored once for all backups. */
  bytes: number;
  objects: Listed[];
}

/** More than the manifest of any database with a name for each of its tables. */
const LARGEST_MANIFEST = 64e6;

/** Everything under `backups/`, oldest first. */
export async function catalog(store: Store): Promise<Entry[]> {
  const entries = new Map<string, Entry>();
  for await (const object of store.list('backups/')) {
    const { key, bytes } = object;
    const id = key.split('/')[1] ?? '';
    const started = dateOf(id);
    if (!started) continue;
    const entry = entries.get(id) ?? { id, state: 'unfinished', started, bytes: 0, objects: [] };
    entry.bytes += bytes;
    entry.objects.push(object);
    if (key === manifestKey(id, true)) entry.state = 'complete';
    if (key === manifestKey(id, false)) entry.state = 'partial';
    entries.set(id, entry);
  }
  return [...entries.values()].sort((a, b) => (a.id < b.id ? -1 : 1));
}

/** Reads a backup's manifest. @throws Failure when it may not be read or is not what it should be */
export async function fetchManifest(store: Store, app: string, entry: Entry): Promise<Manifest> {
  return readManifest(await manifestText(store, entry), app, entry.id);
}

/**
 * A backup's manifest as it is stored.
 * @throws Unreadable when it may not be read, Missing when it is gone, Corrupted when it is too large to be one
 */
async function manifestText(store: Store, entry: Entry): Promise<string> {
  const { id, state } = entry;
  if (state === 'unfinished') {
    throw new Failure(`backup ${id} has no manifest: it was never finished`, { next: 'pick another' });
  }
  const key = manifestKey(id, state === 'complete');
  let bytes = 0;
  const refuseLarge = (now: number) => {
    if (now > LARGEST_MANIFEST)
      throw new Corrupted(`backup ${id}: its manifest has ${now} bytes: that is none`);
  };
  refuseLarge(manifestObject(entry)?.bytes ?? 0);
  const chunks: Buffer[] = [];
  try {
    for await (const chunk of await store.get(key)) {
      bytes += (chunk as Buffer).length;
      // It may be another by now than the one that was listed.
      refuseLarge(bytes);
      chunks.push(chunk as Buffer);
    }
  } catch (error) {
    if (error instanceof Missing)
      throw new Missing(`${store.address(key)} vanished`, { next: 'run it again' });
    throw error;
  }
  return Buffer.concat(chunks).toString('utf8');
}

/** A backup's manifest in the listing. */
const manifestObject = ({ id, state, objects }: Entry): Listed | undefined =>
  objects.find(({ key }) => key === manifestKey(id, state === 'complete'));

/** Manifests that this host wrote: it may not be able to read them back from the store. */
const file = (stateDir: string, id: string) => join(stateDir, 'manifests', `${id}.json`);

export function rememberManifest(stateDir: string, manifest: Manifest): void {
  folderIn(stateDir, 'manifests');
  writeWhole(file(stateDir, manifest.id), [JSON.stringify(manifest)]);
}

/** A manifest that this host wrote, if it still knows it. Of another app, or broken, it is as good as forgotten. */
export function recallManifest(stateDir: string, app: string, id: string): Manifest | undefined {
  try {
    return readManifest(readKept(file(stateDir, id))?.toString() ?? '', app, id);
  } catch {
    return undefined;
  }
}

/** Forgets the manifests of backups that are no more. */
export function forgetManifests(stateDir: string, kept: ReadonlySet<string>): void {
  removeOthers(join(stateDir, 'manifests'), (name) => kept.has(name.slice(0, -'.json'.length)));
}

function remembered(stateDir: string): string[] {
  const folder = join(stateDir, 'manifests');
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .flatMap((name) => /^(.*)\.json$/.exec(name)?.[1] ?? [])
    .sort();
}

/** Warnings for each part that is less than half of what it was in the backup before. */
export function shrunk(stateDir: string, now: Manifest): string[] {
  const id = remembered(stateDir)
    .filter((known) => known < now.id)
    .at(-1);
  const before = id && recallManifest(stateDir, now.app, id);
  if (!before) return [];
  return now.parts.flatMap((part) => {
    const last = before.parts.find((p) => p.kind === part.kind && p.name === part.name);
    if (!last || weight(part) * 2 >= weight(last)) return [];
    return [
      `${part.kind} ${part.name} shrank by more than half: ${bytes(weight(last))} in ${before.id}, ` +
        `${bytes(weight(part))} now. If that was not meant: npx tsx scripts/backup/restore.ts ${before.id}`,
    ];
  });
}

/** What says most of how much is in a part: the dump's size, which a listing proves, or that of all its files. */
export function weight(part: PartRecord): number {
  return part.kind === 'postgres' || part.kind === 'sqlite' ? part.dump.bytes : part.bytesIn;
}

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
