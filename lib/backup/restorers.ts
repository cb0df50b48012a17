import { join } from 'node:path';
import { compose } from '../compose.ts';
import { EXIT, Failure } from '../failure.ts';
import { locate } from './files/address.ts';
import { bucketCopier } from './files/copy-bucket.ts';
import { bucketRestorer } from './files/restore-bucket.ts';
import { type Copier, directoryCopier, directoryRestorer } from './files/restore-directory.ts';
import type {
  BucketPart,
  DirectoryPart,
  Manifest,
  PartRecord,
  PostgresPart,
  SqlitePart,
} from './manifest.ts';
import type { Recovery, Restorer } from './part.ts';
import { postgresRestorer } from './postgres/restorer.ts';
import { select } from './select.ts';
import type { SourceSettings } from './settings.ts';
import { bucketAccess } from './sources.ts';
import { sqliteRestorer } from './sqlite/restorer.ts';

/**
 * Where parts come back: `live`, to be swapped in; `to`, one part under another name, to stay there; `drill`, to be
 * looked at and thrown away.
 */
export type Destination = { kind: 'live' } | { kind: 'to'; name: string } | { kind: 'drill' };

interface Area {
  settings: SourceSettings & { APP_DIR: string; AWS_REGION?: string | undefined };
  recovery: Recovery;
  destination: Destination;
}

/** A restorer for each part, by the settings that name its source. @throws Failure for a part that none names */
export function restorersOf(
  parts: readonly PartRecord[],
  settings: Area['settings'],
  recovery: Recovery,
  destination: Destination,
): Restorer[] {
  if (destination.kind === 'to' && parts.length !== 1) {
    throw new Failure(`--to takes one part, these are ${parts.map((p) => p.name).join(', ')}`, {
      exit: EXIT.usage,
      next: 'name one by --only',
    });
  }
  const area: Area = { settings, recovery, destination };
  return parts.map((part) => {
    if (part.kind === 'postgres') return postgres(part, area);
    if (part.kind === 'sqlite') return sqlite(part, area);
    return part.kind === 'directory' ? directory(part, area) : bucket(part, area);
  });
}

/** The name that `--to` gave, else what is usual for a drill or beside the live one. */
function place({ destination }: Area, drill: string, beside: string): string {
  if (destination.kind === 'to') return destination.name;
  return destination.kind === 'drill' ? drill : beside;
}

function postgres(part: PostgresPart, area: Area): Restorer {
  const { settings, recovery, destination } = area;
  const address = settings.BACKUP_DATABASES?.find((a) => a.via !== 'sqlite' && a.database === part.name);
  if (!address || address.via === 'sqlite') throw unnamed(part, 'BACKUP_DATABASES');
  const beside = place(area, `${part.name}_drill_${recovery.id}`, `${part.name}_restore_${recovery.id}`);
  const app = compose(recovery.host, settings.APP_DIR, settings);
  return postgresRestorer(part, { address, compose: app, beside, for: destination.kind }, recovery);
}

function sqlite(part: SqlitePart, area: Area): Restorer {
  const { settings, recovery, destination } = area;
  const address = settings.BACKUP_DATABASES?.find((a) => a.via === 'sqlite' && a.name === part.name);
  if (address?.via !== 'sqlite') throw unnamed(part, 'BACKUP_DATABASES');
  const { id, stateDir } = recovery;
  const beside = place(area, join(stateDir, `drill-${id}-${part.name}.db`), `${address.file}.restore-${id}`);
  return sqliteRestorer(part, { live: address.file, beside, ours: destination.kind !== 'to' }, recovery);
}

function directory(part: DirectoryPart, area: Area): Restorer {
  const { settings, recovery, destination } = area;
  const address = settings.BACKUP_DIRECTORIES?.find((a) => a.name === part.name);
  if (!address) throw unnamed(part, 'BACKUP_DIRECTORIES');
  const live = locate(address, settings.APP_DIR);
  if (destination.kind === 'live') return directoryRestorer(part, live, recovery);
  const elsewhere = place(area, join(recovery.stateDir, `drill-${recovery.id}-${part.name}`), live);
  return copying(directoryCopier(part, elsewhere, recovery));
}

function bucket(part: BucketPart, area: Area): Restorer {
  const { settings, recovery, destination } = area;
  const address = settings.BACKUP_BUCKETS?.find((a) => a.name === part.name);
  if (!address) throw unnamed(part, 'BACKUP_BUCKETS');
  const access = bucketAccess(settings, recovery);
  if (destination.kind === 'live') return bucketRestorer(part, address, access, recovery);
  const elsewhere = place(area, `${part.name}-drill-${recovery.id}`, part.name);
  return copying(bucketCopier(part, elsewhere, address, access, recovery));
}

/** A part that stays where it is brought: nothing of it can be swapped in. */
const copying = ({ part, plan, prepare, restore }: Copier): Restorer => ({
  part,
  plan,
  prepare,
  restoreBeside: async (step) => ({
    ...(await restore(step)),
    swapIn: async () => '',
    swapBack: async () => {},
  }),
});

const unnamed = ({ kind, name }: PartRecord, setting: string) =>
  new Failure(`the backup has the ${kind} ${name}, which ${setting} does not name`, {
    exit: EXIT.usage,
    next: `add it to ${setting}, or leave it out by --only`,
  });

/** The parts of a backup that `only` names, by name or by kind. @throws Failure on a name that is none */
export function selectParts(manifest: Manifest, only: readonly string[] | undefined): PartRecord[] {
  return select(manifest.parts, only, `backup ${manifest.id}`);
}
