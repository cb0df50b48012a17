import { compose } from '../compose.ts';
import { Failure } from '../failure.ts';
import type { Context } from '../script.ts';
import type { Values } from '../settings.ts';
import { stateDirectory } from '../state.ts';
import { locate } from './files/address.ts';
import { undoBucket } from './files/restore-bucket.ts';
import { undoDirectory } from './files/restore-directory.ts';
import { lastRestoration, rememberRestoration } from './history.ts';
import { partName } from './names.ts';
import { undoPostgres } from './postgres/undo.ts';
import type { Kept } from './restore.ts';
import type { sourceSettings } from './settings.ts';
import { bucketAccess } from './sources.ts';
import { undoSqlite } from './sqlite/restorer.ts';

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
