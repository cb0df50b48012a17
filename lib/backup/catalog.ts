import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { Failure, Interrupted } from '../failure.ts';
import { folderIn, readKept, removeOthers, writeWhole } from '../state.ts';
import { dateOf, idOf, manifestKey } from './id.ts';
import { type Manifest, type PartKind, readManifest } from './manifest.ts';
import { clean } from './schema.ts';
import { Corrupted, type Listed, Missing, type Store } from './store.ts';

/**
 * `complete`: every part that the settings named; `partial`: those that were asked for; `unfinished`: no manifest,
 * so that it does not exist for anything but `list` and `prune`.
 */
export type State = 'complete' | 'partial' | 'unfinished';

/**
 * A backup as a listing of the store shows it: nothing is read, so that a write-only role may look. Whoever may write
 * to the store chooses these names: what they say is believed only after `examine.ts`.
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

/** An id that no backup in the store has: of now, or a second after the last. */
export function freshId(entries: readonly Entry[], now: Date): string {
  const id = idOf(now);
  return entries.some((entry) => entry.id === id) ? freshId(entries, new Date(now.getTime() + 1000)) : id;
}

/** Reads a backup's manifest. @throws Failure when it may not be read or is not what it should be */
export async function fetchManifest(store: Store, app: string, entry: Entry): Promise<Manifest> {
  return readManifest(await manifestText(store, entry), app, entry.id);
}

/**
 * A backup's manifest as it is stored.
 * @throws Unreadable when it may not be read, Missing when it is gone, Corrupted when it is too large to be one
 */
export async function manifestText(store: Store, entry: Entry): Promise<string> {
  const { id, state } = entry;
  if (state === 'unfinished') {
    throw new Failure(`backup ${id} has no manifest: it was never finished`, { next: 'pick another' });
  }
  const refuseLarge = (bytes: number) => {
    if (bytes > LARGEST_MANIFEST)
      throw new Corrupted(`backup ${id}: its manifest has ${bytes} bytes, which is too many for one`);
  };
  refuseLarge(manifestObject(entry)?.bytes ?? 0);
  const key = manifestKey(id, state === 'complete');
  const chunks: Buffer[] = [];
  let bytes = 0;
  try {
    for await (const chunk of (await store.get(key)) as AsyncIterable<Buffer>) {
      bytes += chunk.length;
      // It may be another by now than the one that was listed.
      refuseLarge(bytes);
      chunks.push(chunk);
    }
  } catch (error) {
    if (error instanceof Missing)
      throw new Missing(`${store.address(key)} vanished`, { next: 'run it again' });
    throw error;
  }
  return Buffer.concat(chunks).toString('utf8');
}

/** A backup's manifest in the listing. */
export const manifestObject = ({ id, state, objects }: Entry): Listed | undefined =>
  objects.find(({ key }) => key === manifestKey(id, state === 'complete'));

/** Manifests that this host wrote, in its state: it may not be able to read them back from the store. */
const localFile = (stateDir: string, id: string) => join(stateDir, 'manifests', `${id}.json`);

export function writeLocalManifest(stateDir: string, manifest: Manifest): void {
  folderIn(stateDir, 'manifests');
  writeWhole(localFile(stateDir, manifest.id), [JSON.stringify(manifest)]);
}

/** A manifest that this host wrote, where it still has it. One of another app, or a broken one, is as good as none. */
export function localManifest(stateDir: string, app: string, id: string): Manifest | undefined {
  try {
    return readManifest(readKept(localFile(stateDir, id))?.toString() ?? '', app, id);
  } catch {
    return undefined;
  }
}

/** The newest manifest that this host wrote before that of the backup `id`. */
export function localManifestBefore(stateDir: string, { app, id }: Manifest): Manifest | undefined {
  const folder = join(stateDir, 'manifests');
  const names = existsSync(folder) ? readdirSync(folder).sort() : [];
  const ids = names.flatMap((name) => /^(.*)\.json$/.exec(name)?.[1] ?? []);
  const last = ids.findLast((known) => known < id);
  return last === undefined ? undefined : localManifest(stateDir, app, last);
}

/** Removes this host's copies of the manifests of backups that are gone. */
export function removeLocalManifests(stateDir: string, kept: ReadonlySet<string>): void {
  removeOthers(join(stateDir, 'manifests'), (name) => kept.has(name.slice(0, -'.json'.length)));
}

export interface PartName {
  kind: PartKind;
  name: string;
}

/** The parts of a backup; only its databases where its manifest is neither here nor may be read. */
export interface KnownParts {
  parts: PartName[];
  whole: boolean;
}

/** Tells the parts of backups: from this host's copy of the manifest, from the manifest, or else by the keys of their dumps. */
export function partsReader(
  { app, store, stateDir }: { app: string; store: Store; stateDir: string },
  mayRead = true,
): (entry: Entry) => Promise<KnownParts> {
  // A role that may not read one manifest may read none: it is asked for once.
  let readable = mayRead;
  return async (entry) => {
    let manifest = localManifest(stateDir, app, entry.id);
    if (!manifest && readable && entry.state !== 'unfinished') {
      try {
        manifest = await fetchManifest(store, app, entry);
      } catch (error) {
        if (error instanceof Interrupted || !(error instanceof Failure)) throw error;
        readable = error instanceof Corrupted;
      }
    }
    if (manifest) return { parts: manifest.parts.map(({ kind, name }) => ({ kind, name })), whole: true };
    return { parts: entry.objects.flatMap(({ key }) => partOfKey(key) ?? []), whole: false };
  };
}

/** The database whose dump is stored under a key of a backup's own folder, or nothing. */
function partOfKey(key: string): PartName | undefined {
  const [, own, end] = /^backups\/[^/]+\/(.+)\.(dump|dump\.zst|db\.zst)(?:\.age)?$/.exec(key) ?? [];
  if (own === undefined) return undefined;
  const name = own.replaceAll(/%(?:25|2F|5C)/g, decodeURIComponent);
  if (!clean.safeParse(name).success) return undefined;
  return { kind: end === 'db.zst' ? 'sqlite' : 'postgres', name };
}
