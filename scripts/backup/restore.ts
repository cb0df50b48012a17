import { locate, partName } from '../../lib/backup/addresses.ts';
import { dateOf } from '../../lib/backup/id.ts';
import type { Manifest, PartKind, Restorer } from '../../lib/backup/manifest.ts';
import type { RestoredPart } from '../../lib/backup/restore.ts';
import { allowPlainFlag, identitySettings, sourceSettings } from '../../lib/backup/settings.ts';
import { type Context, flag, option, repeatable } from '../../lib/definition.ts';
import { EXIT, Failure } from '../../lib/failure.ts';
import { bytes, duration, table } from '../../lib/format.ts';
import { script } from '../../lib/script.ts';

await script(import.meta, {
  does: 'Restore a backup beside the live data, check it, and swap it in',
  step: 'Restore',
  example: 'npx tsx scripts/backup/restore.ts latest',
  settings: { ...sourceSettings, ...identitySettings },
  operands: { '[id]': 'the backup, by its id; "latest" (the default) is the newest complete one' },
  flags: {
    only: repeatable(
      '--only <part>',
      'only databases, directories, buckets, files, or a part by its name; repeatable',
    ),
    to: option<string>(
      '--to <name>',
      'restore the one part as this database, directory or bucket, and leave the live one',
    ),
    allowPlain: allowPlainFlag,
    allowSetuid: flag('--allow-setuid', 'restore the setuid and setgid bits of files as well'),
    undo: flag('--undo', 'put back what the last restore replaced'),
    force: flag('--force', 'alias of --yes'),
  },
  changes: true,
  reports: true,
  asks: true,
  lock: 'backup',
  async run(context) {
    const { settings, flags, report, confirm, dryRun, json } = context;
    if (flags.undo) return undo(context);
    const { openBackup } = await import('../../lib/backup/open.ts');
    const { select } = await import('../../lib/backup/parts.ts');
    const { restoreAll, restorersOf } = await import('../../lib/backup/restore.ts');

    // No impact yet.
    const { manifest, recovery, passed } = await openBackup(context, flags.allowPlain);
    for (const { message } of passed) report.warn(`passed over: ${message}`);
    const { id } = manifest;
    const parts = select(manifest.parts, flags.only, `backup ${id}`);
    const restorers = restorersOf(
      parts,
      settings,
      { ...recovery, allowSetuid: flags.allowSetuid },
      flags.to === undefined ? { kind: 'live' } : { kind: 'to', name: flags.to },
    );
    report.summary(await describe(manifest, restorers, new Date()));

    // From here on something is written, beside the live data.
    if (!flags.to) await confirm('This replaces the live data (which is kept). Go on?');
    const restored = await restoreAll(restorers, context, flags.to ? `as ${flags.to}` : undefined);
    await refuseDifferent(restored);
    if (flags.to) return report.data(json ? JSON.stringify({ id, to: flags.to }) : flags.to);

    // From here on the live data are replaced.
    const kept = await swapIn(restored, context, { id, stateDir: recovery.stateDir });
    if (dryRun) return;
    report.info(`restored ${id}; to undo it: npx tsx scripts/backup/restore.ts --undo`);
    report.data(json ? JSON.stringify({ id, parts: kept }) : id);
  },
});

/** What is about to be restored, for whoever has to say yes. */
async function describe(manifest: Manifest, restorers: readonly Restorer[], now: Date): Promise<string> {
  const { holds } = await import('../../lib/backup/restore.ts');
  const age = duration(now.getTime() - Date.parse(manifest.started));
  const rows = restorers.map(({ part }) => [part.kind, part.name, bytes(part.bytesIn), holds(part)]);
  return `backup ${manifest.id} of ${manifest.app}, ${age} old\n${table([['part', 'name', 'size', 'holds'], ...rows], [2])}`;
}

/** @throws Failure naming what differs from the manifest; what was restored is removed first */
async function refuseDifferent(restored: readonly RestoredPart[]): Promise<void> {
  const [first, ...more] = restored.flatMap(({ part: { kind, name }, differences }) =>
    differences.map((line) => `${kind} ${name}: ${line}`),
  );
  if (first === undefined) return;
  const { discardAll } = await import('../../lib/backup/restore.ts');
  await discardAll(restored);
  throw new Failure(
    `what came back is not what was backed up: ${first}${more.length > 0 ? ` (and ${more.length} more)` : ''}`,
    { next: 'restore another backup; nothing live was touched' },
  );
}

/** What a swapped-in part was before, under the name that `--undo` finds it by; empty where there was nothing. */
interface Kept {
  kind: PartKind;
  name: string;
  kept: string;
}

/**
 * Puts all parts into the live ones' places; when one cannot be, those before it are put back. Each is recorded at
 * once: what a killed run had swapped can be undone.
 */
async function swapIn(
  restored: readonly RestoredPart[],
  { change }: Pick<Context, 'change'>,
  { id, stateDir }: { id: string; stateDir: string },
): Promise<Kept[]> {
  const { discardAll } = await import('../../lib/backup/restore.ts');
  const restoration: Restoration = { id, at: new Date().toISOString(), parts: [] };
  const { parts } = restoration;
  try {
    for (const { part, restored: one } of restored) {
      const { kind, name } = part;
      await change(`swap ${kind} ${name} in`, [], async (step) => {
        const kept = await one.swapIn();
        parts.push({ kind, name, kept });
        await recordRestoration(stateDir, restoration);
        step.note(kept ? `the old one is kept as ${kept}` : 'there was none before');
      });
    }
    return parts;
  } catch (error) {
    for (const { restored: one } of restored.slice(0, parts.length).reverse()) await one.swapBack();
    if (parts.length > 0) await recordRestoration(stateDir, { ...restoration, undone: true });
    await discardAll(restored);
    throw error;
  }
}

/** A restore that happened on this host, or the undoing of one. */
interface Restoration {
  id: string;
  at: string;
  parts: Kept[];
  /** Whether its parts were put back. */
  undone?: boolean | undefined;
}

/** Adds a line to what this host knows of its restores. */
export async function recordRestoration(stateDir: string, entry: Restoration): Promise<void> {
  const { appendLine } = await import('../../lib/state.ts');
  appendLine(`${stateDir}/restores.jsonl`, JSON.stringify(entry));
}

/**
 * The restore that `--undo` undoes: the last.
 * @throws Failure when there is none, it cannot be read, or it was undone already
 */
export async function lastRestoration(stateDir: string): Promise<Restoration> {
  const { readKept } = await import('../../lib/state.ts');
  const file = `${stateDir}/restores.jsonl`;
  const last = readKept(file)?.toString().split('\n').findLast(Boolean);
  if (last === undefined) throw new Failure('no restore has been made on this host', { exit: EXIT.usage });
  const entry = await parseRestoration(last);
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

async function parseRestoration(line: string): Promise<Restoration | undefined> {
  const { z } = await import('zod');
  const kind = z.enum(['postgres', 'sqlite', 'directory', 'bucket']);
  const restoration = z.object({
    id: z.string().refine((id) => dateOf(id), 'is not the id of a backup'),
    at: z.iso.datetime(),
    parts: z.array(z.object({ kind, name: z.string(), kept: z.string() })),
    undone: z.boolean().optional(),
  });
  try {
    return restoration.safeParse(JSON.parse(line)).data;
  } catch {
    return undefined;
  }
}

type UndoContext = Omit<Context<typeof sourceSettings>, 'flags'>;

/** Puts back what the last restore on this host replaced; what is live now is kept aside. */
export async function undo(context: UndoContext): Promise<void> {
  const { settings, report, change, confirm, dryRun, json } = context;
  const { stateDirectory } = await import('../../lib/state.ts');
  const stateDir = stateDirectory(settings.APP_DIR);
  const last = await lastRestoration(stateDir);
  const { id } = last;
  await confirm(`This undoes the restore of ${id}, made at ${last.at}. Go on?`);
  const parts: Kept[] = [];
  for (const part of [...last.parts].reverse()) {
    const { kind, name, kept } = part;
    const from = `from ${kept || 'nothing: there was none before'}`;
    await change(`put ${kind} ${name} back`, [from], async (step) => {
      if (kept === '') return step.note('there was none before: what was restored stays');
      const aside = await undoPart(part, id, stateDir, context);
      parts.push({ kind, name, kept: aside });
      step.note(aside ? `what was restored is kept as ${aside}` : 'what was restored is not there any more');
    });
  }
  if (dryRun) return;
  await recordRestoration(stateDir, { id, at: new Date().toISOString(), parts, undone: true });
  report.data(json ? JSON.stringify({ id, undone: true, parts }) : `the restore of ${id} was undone`);
}

/** Puts one part back; resolves to where what was restored is kept, or nothing. */
async function undoPart(
  { kind, name, kept }: Kept,
  id: string,
  stateDir: string,
  context: UndoContext,
): Promise<string> {
  const { settings, host } = context;
  const { APP_DIR, BACKUP_DATABASES = [], BACKUP_DIRECTORIES = [], BACKUP_BUCKETS = [] } = settings;
  const isIt = (address: Parameters<typeof partName>[0]) => partName(address) === name;
  const unnamed = (setting: string) =>
    new Failure(`${setting} does not name ${name} any more`, { next: 'set it again' });
  if (kind === 'directory') {
    const { undoDirectory } = await import('../../lib/backup/swap.ts');
    const address = BACKUP_DIRECTORIES.find(isIt);
    if (!address) throw unnamed('BACKUP_DIRECTORIES');
    return undoDirectory(name, stateDir, locate(address, APP_DIR)).kept;
  }
  if (kind === 'bucket') {
    const { bucketAccess } = await import('../../lib/backup/parts.ts');
    const { undoBucket } = await import('../../lib/backup/restore-bucket.ts');
    const address = BACKUP_BUCKETS.find(isIt);
    if (!address) throw unnamed('BACKUP_BUCKETS');
    return (await undoBucket(address, bucketAccess(settings, context), stateDir)).kept;
  }
  const address = BACKUP_DATABASES.filter((one) => (one.via === 'sqlite') === (kind === 'sqlite')).find(isIt);
  if (!address) throw unnamed('BACKUP_DATABASES');
  if (address.via === 'sqlite') {
    const { undoSqlite } = await import('../../lib/backup/sqlite.ts');
    refuseForeign(kept, `${address.file}_before_${id}`);
    return undoSqlite(address.file, kept, id);
  }
  const { undoPostgres } = await import('../../lib/backup/postgres-restore.ts');
  const { compose } = await import('../../lib/compose.ts');
  refuseForeign(kept, `${address.database}_before_${id}`);
  return undoPostgres(address, compose(host, APP_DIR, settings), { host, id }, kept);
}

/** What is put back becomes live: only what a restore of this part has kept. */
function refuseForeign(kept: string, base: string): void {
  if (kept.replace(/_\d+$/, '') === base || kept === base) return;
  throw new Failure(`${kept} is not what a restore would have kept (${base}): not put back`, {
    next: 'see who changed APP_DIR/.opsbook/restores.jsonl, or the settings',
  });
}
