import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import type { Context } from '../definition.ts';
import { checkAll, EXIT, Failure, messageOf } from '../failure.ts';
import { bytes, duration, table } from '../format.ts';
import { type Entry, rememberManifest, shrunk } from './catalog.ts';
import {
  type Manifest,
  type PartRecord,
  type Prepared,
  type Source,
  type Work,
  writeManifest,
} from './manifest.ts';
import { dateOf, idOf, manifestKey } from './schema.ts';
import { type Store, Taken } from './store.ts';

/** An id that no backup in the store has: of now, or a second after the last. */
export function freshId(entries: readonly Entry[], now: Date): string {
  const id = idOf(now);
  return entries.some((entry) => entry.id === id) ? freshId(entries, new Date(now.getTime() + 1000)) : id;
}

/** The store for one run: no object of a backup is written twice. Two parts of one name would be; none may be lost so. */
export function writingOnce(store: Store): Store {
  const written = new Set<string>();
  const once = (key: string) => {
    if (key.startsWith('backups/') && written.has(key))
      throw new Failure(`${store.address(key)} would be written twice in one backup`, {
        next: 'give the parts names of their own: ?name=NAME behind an item of the setting',
      });
    written.add(key);
  };
  return {
    ...store,
    put(key, body) {
      once(key);
      return store.put(key, body);
    },
    putStream(key, body, most) {
      once(key);
      return store.putStream(key, body, most);
    },
  };
}

/** Looks at everything first, and reports all that is wrong together. */
export async function prepareAll(sources: readonly Source[], work: Work): Promise<Prepared[]> {
  const prepared: Prepared[] = [];
  await checkAll(
    sources.map((source, i) => async () => {
      prepared[i] = await source.prepare(work);
    }),
  );
  return prepared;
}

/** Takes a backup of what was prepared; the manifest comes last, and makes it one. */
export async function takeBackup(
  { settings: { APP }, report, change, dryRun }: Pick<Context, 'settings' | 'report' | 'change' | 'dryRun'>,
  work: Work,
  prepared: readonly Prepared[],
  complete: boolean,
): Promise<Manifest | undefined> {
  const { id, store, stateDir } = work;
  const started = dateOf(id) ?? new Date();
  try {
    await change('open the backup', [`put ${store.address(`backups/${id}/started.json`)}`], () =>
      openBackup(work, APP),
    );
    const parts: PartRecord[] = [];
    for (const { source, plan, save } of prepared) {
      const part = await change(`${source.kind} ${source.name}`, plan, save);
      if (part) parts.push(part);
    }
    const key = manifestKey(id, complete);
    const manifest = await change('write the manifest', [`put ${store.address(key)}`], async () => {
      await store.settle();
      for (const { confirm } of prepared) await confirm?.();
      const text = writeManifest({
        ...identity(APP, work),
        started: started.toISOString(),
        finished: new Date().toISOString(),
        complete,
        parts,
      });
      await store.put(key, Buffer.from(text));
      return JSON.parse(text) as Manifest;
    });
    if (manifest && stateDir) await remember(stateDir, manifest, prepared, report);
    return manifest;
  } catch (error) {
    // What another run began is not ours to tidy.
    if (!dryRun && !(error instanceof Taken)) await tidy(work);
    throw error;
  }
}

/** The backup is there: what cannot be remembered of it only costs the next one time. */
async function remember(
  stateDir: string,
  manifest: Manifest,
  prepared: readonly Prepared[],
  report: Context['report'],
): Promise<void> {
  try {
    for (const warning of shrunk(stateDir, manifest)) report.warn(warning);
    rememberManifest(stateDir, manifest);
    for (const { committed } of prepared) await committed?.();
  } catch (error) {
    report.warn(`the next backup will read everything again: ${messageOf(error)}`);
  }
}

const identity = (app: string, { id, encrypter: { recipient } }: Work) => ({
  app,
  id,
  recipient,
  tool: toolVersion(),
  host: hostname(),
});

/** The first write: it proves that we may, and tells of a backup that was never finished who began it. */
async function openBackup({ id, store }: Work, app: string): Promise<void> {
  const text = JSON.stringify({
    app,
    id,
    host: hostname(),
    pid: process.pid,
    started: new Date().toISOString(),
  });
  try {
    await store.claim(`backups/${id}/started.json`, Buffer.from(`${text}\n`));
  } catch (error) {
    if (!(error instanceof Taken)) throw error;
    // Two hosts, or two checkouts: the lock of the app's directory does not hold between them.
    throw new Taken(`another run began the backup ${id} of ${app} in ${store.uri} in this very second`, {
      exit: EXIT.locked,
      next: 'see whether it is meant to run in two places, or give them different minutes',
      cause: error,
    });
  }
}

/** Removes what a failed run stored, where its role may: a full disk would stay full. Otherwise prune does it. */
async function tidy({ id, store }: Work): Promise<void> {
  try {
    const keys: string[] = [];
    for await (const { key } of store.list(`backups/${id}/`)) keys.push(key);
    await store.remove(keys);
  } catch {
    // It is unfinished and says so; the failure that brought us here is the one to report.
  }
}

/** The backup as a table of its parts. */
export function summary({ id, started, finished, parts, complete }: Manifest): string {
  const took = duration(Date.parse(finished) - Date.parse(started));
  const rows = parts.map((p) => [p.kind, p.name, bytes(p.bytesIn), bytes(p.bytesOut)]);
  const text = table([['part', 'name', 'size', 'stored'], ...rows], [2, 3]);
  return `backup ${id}${complete ? '' : ' (partial)'}, ${took}\n${text}`;
}

function toolVersion(): string {
  const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));
  return `opsbook ${version}`;
}

/** Warns of a store whose newest backup is from the future: a clock is wrong, and retention goes by clocks. */
export function skewed(entries: readonly Entry[], now: Date): string | undefined {
  const newest = entries.at(-1);
  if (!newest || newest.started.getTime() <= now.getTime() + 60_000) return undefined;
  return `the newest backup, ${newest.id}, is from the future: check this host's clock (${now.toISOString()})`;
}
