import { compose } from '../compose.ts';
import { Failure } from '../failure.ts';
import type { Context } from '../script.ts';
import type { Values } from '../settings.ts';
import { stateDirectory } from '../state.ts';
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
  if (kind === 'directory') return undoDirectory(name, stateDir).kept;
  if (kind === 'bucket') {
    const address = settings.BACKUP_BUCKETS?.find((bucket) => partName(bucket) === name);
    if (!address) throw none('BACKUP_BUCKETS');
    return (await undoBucket(address, bucketAccess(settings, context), stateDir)).kept;
  }
  for (const address of settings.BACKUP_DATABASES ?? []) {
    if (address.via === 'sqlite') {
      if (kind === 'sqlite' && address.name === name) return undoSqlite(address.file, kept, id);
    } else if (kind === 'postgres' && partName(address) === name) {
      return undoPostgres(address, compose(host, settings.APP_DIR, settings), { host, id }, kept);
    }
  }
  throw none('BACKUP_DATABASES');
}
