import { join } from 'node:path';
import { z } from 'zod';
import { compose } from '../compose.ts';
import type { Context } from '../definition.ts';
import { checkAll, EXIT, Failure } from '../failure.ts';
import { bytes, count, duration, table } from '../format.ts';
import type { Values } from '../settings.ts';
import { appendLine, readKept, stateDirectory } from '../state.ts';
import { locate, partName } from './addresses.ts';
import { catalog, type encryptedBy, examiner, fetchManifest, newestSound, plainDoubt } from './catalog.ts';
import { describeRows, type Manifest, type Restored, type Restorer } from './manifest.ts';
import { bucketAccess } from './parts.ts';
import { undoPostgres } from './postgres-swap.ts';
import { undoBucket } from './restore-bucket.ts';
import { chooseId, dateOf } from './schema.ts';
import type { sourceSettings } from './settings.ts';
import { undoSqlite } from './sqlite.ts';
import { type Store, Unreadable } from './store.ts';
import { undoDirectory } from './swap.ts';

/**
 * The manifest of the backup that an operator means: an id or `latest`, which is the newest that is complete.
 * @throws Corrupted when it is plain where backups are encrypted: whoever may write to the store may have put it there
 */
export async function findBackup(
  store: Store,
  app: string,
  wanted: string,
  /** Hears of each newer one that was passed over, because it is not what its name says. */
  passOver: (doubt: Failure) => void,
  by: ReturnType<typeof encryptedBy>,
): Promise<Manifest> {
  const entries = await catalog(store);
  if (wanted === 'latest' && entries.some(({ state }) => state === 'complete')) {
    const { newest, passed } = await newestSound(entries, examiner({ app, store, encryptedBy: by }));
    const [first] = passed.map(({ doubt }) => doubt);
    if (first && (!newest?.manifest || first instanceof Unreadable)) throw first;
    for (const { doubt } of passed) if (doubt) passOver(doubt);
    if (newest?.manifest) return newest.manifest;
  }
  const offered = entries.filter(
    ({ state }) => state === 'complete' || (wanted !== 'latest' && state === 'partial'),
  );
  // One that is asked for by its id is told that it was never finished.
  const unfinished = entries.filter(({ id, state }) => id === wanted && state === 'unfinished');
  const candidates = [...offered, ...unfinished];
  const id = chooseId(
    wanted,
    candidates.map((entry) => entry.id),
    entries.length > candidates.length ? `${store.uri} that is complete` : store.uri,
  );
  const entry = candidates.find((e) => e.id === id);
  const manifest = await fetchManifest(store, app, entry as (typeof candidates)[number]);
  const plain = plainDoubt(manifest, by);
  if (plain) throw plain;
  return manifest;
}

/** What is about to be restored, for whoever has to say yes. */
export function describeRestore(manifest: Manifest, restorers: readonly Restorer[], now: Date): string {
  const age = duration(now.getTime() - Date.parse(manifest.started));
  const rows = restorers.map(({ part }) => [part.kind, part.name, bytes(part.bytesIn), contents(part)]);
  return `backup ${manifest.id} of ${manifest.app}, ${age} old\n${table([['part', 'name', 'size', 'holds'], ...rows], [2])}`;
}

function contents(part: Manifest['parts'][number]): string {
  if ('files' in part) return count(part.files, 'file');
  return describeRows(part.tables);
}

/** A restored part, with how long it took to bring it back. */
export interface Brought {
  restorer: Restorer;
  restored: Restored;
  ms: number;
  differences: string[];
}

/**
 * Brings every part back beside the live ones and compares each with the manifest. When one fails, all that was
 * brought is removed again: nothing live was touched.
 */
export async function bringAll(
  restorers: readonly Restorer[],
  { change }: Pick<Context, 'change'>,
  where = 'beside the live one',
): Promise<Brought[]> {
  await checkAll(restorers.map((restorer) => () => restorer.prepare()));
  const brought: Brought[] = [];
  try {
    for (const restorer of restorers) {
      const { part, plan } = restorer;
      const started = performance.now();
      await change(`restore ${part.kind} ${part.name} ${where}`, plan, async (step) => {
        const restored = await restorer.restoreBeside(step);
        const one: Brought = { restorer, restored, ms: performance.now() - started, differences: [] };
        brought.push(one);
        one.differences = await restored.compare();
        step.note(`${bytes(part.bytesIn)} → ${restored.place}, ${verdict(one.differences, part)}`);
      });
    }
  } catch (error) {
    await discardAll(brought);
    throw error;
  }
  return brought;
}

const verdict = (differences: readonly string[], part: Manifest['parts'][number]) =>
  differences.length > 0
    ? `${count(differences.length, 'difference')} to the manifest`
    : `equal: ${contents(part)}`;

export async function discardAll(brought: readonly Brought[]): Promise<void> {
  for (const { restored } of brought) await restored.discard();
}

/** @throws Failure naming what differs from the manifest; what was brought is removed first */
export async function refuseDifferent(brought: readonly Brought[]): Promise<void> {
  const lines = brought.flatMap(({ restorer, differences }) =>
    differences.map((line) => `${restorer.part.kind} ${restorer.part.name}: ${line}`),
  );
  const [first] = lines;
  if (first === undefined) return;
  await discardAll(brought);
  throw new Failure(
    `what came back is not what was backed up: ${first}${lines.length > 1 ? ` (and ${lines.length - 1} more)` : ''}`,
    {
      next: 'restore another backup; nothing live was touched',
    },
  );
}

/** What a swapped-in part was before, under the name that `--undo` finds it by. */
export interface Kept {
  kind: Manifest['parts'][number]['kind'];
  name: string;
  kept: string;
}

/**
 * Puts all parts into the live ones' places; when one cannot be, those before it are put back. Each is remembered at
 * once: what a killed run had swapped can be undone.
 */
export async function swapAll(
  brought: readonly Brought[],
  { change }: Pick<Context, 'change'>,
  remember: (kept: Kept[], undone?: true) => void,
): Promise<Kept[]> {
  const kept: Kept[] = [];
  try {
    for (const { restorer, restored } of brought) {
      const { kind, name } = restorer.part;
      await change(`swap ${kind} ${name} in`, [], async (step) => {
        const old = await restored.swapIn();
        kept.push({ kind, name, kept: old });
        remember(kept);
        step.note(old ? `the old one is kept as ${old}` : 'there was none before');
      });
    }
    return kept;
  } catch (error) {
    for (const { restored } of brought.slice(0, kept.length).reverse()) await restored.swapBack();
    if (kept.length > 0) remember(kept, true);
    await discardAll(brought);
    throw error;
  }
}

/** A restore that happened on this host, or the undoing of one. */
const restoration = z.object({
  id: z.string().refine((id) => dateOf(id), 'is no id of a backup'),
  at: z.iso.datetime(),
  parts: z.array(
    z.object({
      kind: z.enum(['postgres', 'sqlite', 'directory', 'bucket']),
      name: z.string(),
      kept: z.string(),
    }),
  ),
  /** Whether `--undo` took it back. */
  undone: z.boolean().optional(),
});
export type Restoration = z.infer<typeof restoration>;

/** A drill that happened: how long a restore takes, and whether it would have worked. */
export interface Drill {
  id: string;
  at: string;
  ms: number;
  equal: boolean;
}

const RESTORES = 'restores.jsonl';
const DRILLS = 'drills.jsonl';

export const rememberRestoration = (stateDir: string, entry: Restoration): void =>
  append(stateDir, RESTORES, entry);
export const rememberDrill = (stateDir: string, entry: Drill): void => append(stateDir, DRILLS, entry);

function append(stateDir: string, name: string, entry: object): void {
  appendLine(join(stateDir, name), JSON.stringify(entry));
}

/** The restore that `--undo` takes back: the last. @throws Failure when there is none, it cannot be read, or it was taken back already */
export function lastRestoration(stateDir: string): Restoration {
  const file = join(stateDir, RESTORES);
  const last = readKept(file)?.toString().split('\n').findLast(Boolean);
  if (last === undefined) throw new Failure('no restore has been made on this host', { exit: EXIT.usage });
  const entry = parseRestoration(last);
  // The one before it is not the last: what came since would be lost.
  if (!entry) {
    throw new Failure(`${file}: its last line cannot be read: what the last restore was is not known`, {
      next: 'put what was kept (…_before_…) back by hand, then remove the line',
    });
  }
  if (!entry.undone) return entry;
  throw new Failure(`the restore of ${entry.id} was undone already, at ${entry.at}`, {
    exit: EXIT.usage,
    next: 'restore a backup: npx tsx scripts/backup/restore.ts --help',
  });
}

function parseRestoration(line: string): Restoration | undefined {
  try {
    return restoration.safeParse(JSON.parse(line)).data;
  } catch {
    return undefined;
  }
}

type UndoContext = Omit<Context, 'settings' | 'flags'> & {
  settings: Context['settings'] & Values<typeof sourceSettings>;
};

/** Puts back what the last restore on this host replaced; what is live now is kept aside. */
export async function undo(context: UndoContext): Promise<void> {
  const { settings, report, change, confirm, dryRun, json } = context;
  const stateDir = stateDirectory(settings.APP_DIR);
  const last = lastRestoration(stateDir);
  await confirm(`This takes back the restore of ${last.id}, made at ${last.at}. Go on?`);
  const parts: Kept[] = [];
  for (const part of [...last.parts].reverse()) {
    const { kind, name, kept } = part;
    await change(
      `put ${kind} ${name} back`,
      [`from ${kept || 'nothing: there was none before'}`],
      async (step) => {
        if (kept === '') return step.note('there was none before: what was restored stays');
        const aside = await undoPart(part, last.id, stateDir, context);
        parts.push({ kind, name, kept: aside });
        step.note(
          aside ? `what was restored is kept as ${aside}` : 'what was restored is not there any more',
        );
      },
    );
  }
  if (dryRun) return;
  rememberRestoration(stateDir, { id: last.id, at: new Date().toISOString(), parts, undone: true });
  report.data(
    json ? JSON.stringify({ id: last.id, undone: true, parts }) : `the restore of ${last.id} was undone`,
  );
}

async function undoPart(
  { kind, name, kept }: Kept,
  id: string,
  stateDir: string,
  context: UndoContext,
): Promise<string> {
  const { settings, host } = context;
  const none = (setting: string) =>
    new Failure(`${setting} does not name ${name} any more`, { next: 'set it again' });
  if (kind === 'directory') {
    const address = settings.BACKUP_DIRECTORIES?.find((directory) => directory.name === name);
    if (!address) throw none('BACKUP_DIRECTORIES');
    return undoDirectory(name, stateDir, locate(address, settings.APP_DIR)).kept;
  }
  if (kind === 'bucket') {
    const address = settings.BACKUP_BUCKETS?.find((bucket) => partName(bucket) === name);
    if (!address) throw none('BACKUP_BUCKETS');
    return (await undoBucket(address, bucketAccess(settings, context), stateDir)).kept;
  }
  const databases = settings.BACKUP_DATABASES ?? [];
  for (const address of databases) {
    if (address.via === 'sqlite' || kind !== 'postgres' || partName(address) !== name) continue;
    refuseForeign(kept, `${address.database}_before_${id}`);
    return undoPostgres(address, compose(host, settings.APP_DIR, settings), { host, id }, kept);
  }
  const sqlite = databases.find((address) => address.via === 'sqlite' && address.name === name);
  if (kind === 'sqlite' && sqlite?.via === 'sqlite') {
    refuseForeign(kept, `${sqlite.file}_before_${id}`);
    return undoSqlite(sqlite.file, kept, id);
  }
  throw none('BACKUP_DATABASES');
}

/** What is put back becomes live: only what a restore of this part has kept. */
function refuseForeign(kept: string, base: string): void {
  if (kept.replace(/_\d+$/, '') === base || kept === base) return;
  throw new Failure(`${kept} is not what a restore would have kept (${base}): not put back`, {
    next: 'see who changed APP_DIR/.opsbook/restores.jsonl, or the settings',
  });
}
