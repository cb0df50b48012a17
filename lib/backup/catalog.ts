import { Failure } from '../failure.ts';
import { dateOf, manifestKey } from './id.ts';
import { type Manifest, readManifest } from './manifest.ts';
import { Corrupted, type Listed, Missing, type Store } from './store.ts';

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
export async function manifestText(store: Store, entry: Entry): Promise<string> {
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
export const manifestObject = ({ id, state, objects }: Entry): Listed | undefined =>
  objects.find(({ key }) => key === manifestKey(id, state === 'complete'));
