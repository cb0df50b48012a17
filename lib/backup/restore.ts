import { join } from 'node:path';
import { compose } from '../compose.ts';
import type { Context } from '../definition.ts';
import { checkAll, EXIT, Failure, throwAll } from '../failure.ts';
import { bytes, count } from '../format.ts';
import { locate, partName } from './addresses.ts';
import { siblingName } from './bucket.ts';
import { describeRows, type PartRecord, type Recovery, type Restored, type Restorer } from './manifest.ts';
import { bucketAccess, overlapping, type PartsSettings } from './parts.ts';
import { postgresRestorer } from './postgres-restore.ts';
import { bucketCopier, bucketRestorer } from './restore-bucket.ts';
import { directoryCopier, directoryRestorer } from './restore-directory.ts';
import { quoted } from './schema.ts';
import { sqliteRestorer } from './sqlite.ts';
import { Corrupted } from './store.ts';

/**
 * Where parts come back: `live`, to be swapped in; `to`, one part under another name, to stay there; `drill`, to be
 * looked at and thrown away.
 */
export type Destination = { kind: 'live' } | { kind: 'to'; name: string } | { kind: 'drill' };

/**
 * A restorer for each part, by the settings that name its source.
 * @throws Failure for a part that the settings do not name, Corrupted for parts that cannot be told apart
 */
export function restorersOf(
  parts: readonly PartRecord[],
  settings: PartsSettings,
  recovery: Recovery,
  destination: Destination,
): Restorer[] {
  if (destination.kind === 'to' && parts.length !== 1) {
    const names = parts.map((part) => part.name).join(', ');
    throw new Failure(`--to takes one part, these are ${names}`, {
      exit: EXIT.usage,
      next: 'name one by --only',
    });
  }
  const twice = parts.find((p, at) => parts.findIndex((q) => q.kind === p.kind && q.name === p.name) !== at);
  if (twice) {
    throw new Corrupted(
      `backup ${recovery.id} has two parts that are the ${twice.kind} ${twice.name}: which is which nobody can say`,
      'restore the other parts, each by --only, or another backup: npx tsx scripts/backup/list.ts',
    );
  }
  const names = parts.flatMap(({ kind, name }) => (kind === 'directory' ? [name] : []));
  const directories = settings.BACKUP_DIRECTORIES?.filter(({ name }) => names.includes(name)) ?? [];
  if (destination.kind === 'live') throwAll(overlapping(directories, settings.APP_DIR));
  return parts.map((part) => restorerOf(part, settings, recovery, destination));
}

function restorerOf(
  part: PartRecord,
  settings: PartsSettings,
  recovery: Recovery,
  destination: Destination,
): Restorer {
  const { id, stateDir } = recovery;
  const { APP_DIR, BACKUP_DATABASES = [], BACKUP_DIRECTORIES = [], BACKUP_BUCKETS = [] } = settings;
  const isIt = (address: Parameters<typeof partName>[0]) => partName(address) === part.name;
  const place = (drill: string, beside: string) =>
    ({ to: 'name' in destination ? destination.name : beside, drill, live: beside })[destination.kind];
  if (part.kind === 'postgres') {
    const servers = BACKUP_DATABASES.filter((address) => address.via !== 'sqlite');
    const address = only(servers.filter(isIt), part, 'BACKUP_DATABASES');
    const { database } = address;
    if (part.database !== database) {
      throw new Corrupted(
        `backup ${id}: the part ${part.name} is of the database ${quoted(part.database)}, not of ${database}`,
      );
    }
    const beside = place(`${database}_drill_${id}`, `${database}_restore_${id}`);
    const app = compose(recovery.host, APP_DIR, settings);
    return postgresRestorer(part, { address, compose: app, beside, for: destination.kind }, recovery);
  }
  if (part.kind === 'sqlite') {
    const files = BACKUP_DATABASES.filter((address) => address.via === 'sqlite');
    const { file } = only(files.filter(isIt), part, 'BACKUP_DATABASES');
    const beside = place(join(stateDir, `drill-${id}-${part.name}.db`), `${file}.restore-${id}`);
    return sqliteRestorer(part, { live: file, beside, for: destination.kind }, recovery);
  }
  if (part.kind === 'directory') {
    const live = locate(only(BACKUP_DIRECTORIES.filter(isIt), part, 'BACKUP_DIRECTORIES'), APP_DIR);
    if (destination.kind === 'live') return directoryRestorer(part, live, recovery);
    const elsewhere = place(join(stateDir, `drill-${id}-${part.name}`), live);
    return directoryCopier(part, elsewhere, recovery);
  }
  const address = only(BACKUP_BUCKETS.filter(isIt), part, 'BACKUP_BUCKETS');
  const access = bucketAccess(settings, recovery);
  if (destination.kind === 'live') return bucketRestorer(part, address, access, recovery);
  const elsewhere = place(siblingName(address.name, `-drill-${id}`), part.name);
  return bucketCopier(part, elsewhere, address, access, recovery);
}

/** The one address of a part, which says what is replaced. @throws Failure where the settings name none, or two */
function only<T>([address, other]: readonly T[], { kind, name }: PartRecord, setting: string): T {
  if (address === undefined) {
    throw new Failure(`the backup has the ${kind} ${name}, which ${setting} does not name`, {
      exit: EXIT.usage,
      next: `add it to ${setting}, or leave it out by --only`,
    });
  }
  if (other === undefined) return address;
  throw new Failure(`the backup has the ${kind} ${name}, and ${setting} names two that are called so`, {
    exit: EXIT.usage,
    next: 'name one of them otherwise: write ?name=NAME behind it',
  });
}

/** A part that was restored beside the live one, or into a place of its own. */
export interface RestoredPart {
  part: PartRecord;
  restored: Restored;
  /** What differs from the manifest, a line each. */
  differences: string[];
}

/**
 * Restores every part beside the live ones and compares each with the manifest. When one fails, all that were restored
 * are removed again: nothing live was touched.
 */
export async function restoreAll(
  restorers: readonly Restorer[],
  { change }: Pick<Context, 'change'>,
  where = 'beside the live one',
): Promise<RestoredPart[]> {
  await checkAll(restorers.map((restorer) => () => restorer.prepare()));
  const done: RestoredPart[] = [];
  try {
    for (const { part, plan, restoreBeside } of restorers) {
      await change(`restore ${part.kind} ${part.name} ${where}`, plan, async (step) => {
        const restored = await restoreBeside(step);
        const one: RestoredPart = { part, restored, differences: [] };
        done.push(one);
        one.differences = await restored.compare();
        const { length } = one.differences;
        const verdict =
          length > 0 ? `${count(length, 'difference')} to the manifest` : `equal: ${holds(part)}`;
        step.note(`${bytes(part.bytesIn)} → ${restored.place}, ${verdict}`);
      });
    }
  } catch (error) {
    await discardAll(done);
    throw error;
  }
  return done;
}

/** Removes what was restored. */
export async function discardAll(parts: readonly RestoredPart[]): Promise<void> {
  for (const { restored } of parts) await restored.discard();
}

/** What a part holds, in a few words. */
export const holds = (part: PartRecord): string =>
  'files' in part ? count(part.files, 'file') : describeRows(part.tables);
