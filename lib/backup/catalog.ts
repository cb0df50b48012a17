import { Failure } from '../failure.ts';
import { dateOf } from './id.ts';
import { type Manifest, readManifest } from './manifest.ts';
import { type Listed, Missing, type Store } from './store.ts';

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

/** The manifest's name says whether the backup is complete: a role that may not read can tell. */
export const manifestKey = (id: string, complete: boolean): string =>
  `backups/${id}/manifest${complete ? '' : '.partial'}.json`;

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

/** A backup's manifest as it is stored. @throws Unreadable when it may not be read, Missing when it is gone */
export async function manifestText(store: Store, { id, state }: Entry): Promise<string> {
  if (state === 'unfinished') {
    throw new Failure(`backup ${id} has no manifest: it was never finished`, { next: 'pick another' });
  }
  const key = manifestKey(id, state === 'complete');
  const chunks: Buffer[] = [];
  try {
    for await (const chunk of await store.get(key)) chunks.push(chunk as Buffer);
  } catch (error) {
    if (error instanceof Missing)
      throw new Missing(`${store.address(key)} vanished`, { next: 'run it again' });
    throw error;
  }
  return Buffer.concat(chunks).toString('utf8');
}
