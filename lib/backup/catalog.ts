import { Failure } from '../failure.ts';
import { dateOf } from './id.ts';
import { type Manifest, readManifest } from './manifest.ts';
import { Missing, type Store } from './store.ts';

/**
 * `complete`: every part that the settings named; `partial`: those that were asked for; `unfinished`: no manifest,
 * so that it does not exist for anything but `list` and `prune`.
 */
export type State = 'complete' | 'partial' | 'unfinished';

/** A backup as a listing of the store shows it: nothing is read, so that a write-only role may look. */
export interface Entry {
  id: string;
  state: State;
  started: Date;
  /** Of its own objects: dumps and manifest; files are stored once for all backups. */
  bytes: number;
  keys: string[];
}

/** The manifest's name says whether the backup is complete: a role that may not read can tell. */
export const manifestKey = (id: string, complete: boolean): string =>
  `backups/${id}/manifest${complete ? '' : '.partial'}.json`;

/** Everything under `backups/`, oldest first. */
export async function catalog(store: Store): Promise<Entry[]> {
  const entries = new Map<string, Entry>();
  for await (const { key, bytes } of store.list('backups/')) {
    const id = key.split('/')[1] ?? '';
    const started = dateOf(id);
    if (!started) continue;
    const entry = entries.get(id) ?? { id, state: 'unfinished', started, bytes: 0, keys: [] };
    entry.bytes += bytes;
    entry.keys.push(key);
    if (key === manifestKey(id, true)) entry.state = 'complete';
    if (key === manifestKey(id, false)) entry.state = 'partial';
    entries.set(id, entry);
  }
  return [...entries.values()].sort((a, b) => (a.id < b.id ? -1 : 1));
}

/** The newest that is complete. */
export const newestComplete = (entries: readonly Entry[]): Entry | undefined =>
  entries.findLast((entry) => entry.state === 'complete');

/** Reads a backup's manifest. @throws Failure when it may not be read or is not what it should be */
export async function fetchManifest(store: Store, app: string, entry: Entry): Promise<Manifest> {
  if (entry.state === 'unfinished') {
    throw new Failure(`backup ${entry.id} has no manifest: it was never finished`, { next: 'pick another' });
  }
  return readManifest(await text(store, manifestKey(entry.id, entry.state === 'complete')), app, entry.id);
}

async function text(store: Store, key: string): Promise<string> {
  const chunks: Buffer[] = [];
  try {
    for await (const chunk of await store.get(key)) chunks.push(chunk as Buffer);
  } catch (error) {
    if (error instanceof Missing)
      throw new Failure(`${store.address(key)} vanished`, { next: 'run it again' });
    throw error;
  }
  return Buffer.concat(chunks).toString('utf8');
}
