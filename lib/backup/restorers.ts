import { join } from 'node:path';
import { compose } from '../compose.ts';
import { EXIT, Failure, throwAll } from '../failure.ts';
import { locate } from './files/address.ts';
import { siblingName } from './files/bucket.ts';
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
import { partName } from './names.ts';
import type { Recovery, Restorer } from './part.ts';
import type { PostgresAddress } from './postgres/address.ts';
import { postgresRestorer } from './postgres/restorer.ts';
import { quoted } from './schema.ts';
import { select } from './select.ts';
import type { SourceSettings } from './settings.ts';
import { bucketAccess, overlapping } from './sources.ts';
import type { SqliteAddress } from './sqlite/address.ts';
import { sqliteRestorer } from './sqlite/restorer.ts';
import { Corrupted } from './store.ts';

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

/** What the settings name a part by, which says what is replaced. @throws Failure where they name none, or two */
function addressOf<T>(
  part: PartRecord,
  setting: string,
  addresses: readonly T[] | undefined,
  isIt: (address: T) => boolean,
): T {
  const [address, other] = (addresses ?? []).filter(isIt);
  const { kind, name } = part;
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

function postgres(part: PostgresPart, area: Area): Restorer {
  const { settings, recovery, destination } = area;
  const address = addressOf(part, 'BACKUP_DATABASES', settings.BACKUP_DATABASES, (a) => {
    return a.via !== 'sqlite' && partName(a) === part.name;
  }) as PostgresAddress;
  const { database } = address;
  if (part.database !== database) {
    throw new Corrupted(
      `backup ${recovery.id}: the part ${part.name} is of the database ${quoted(part.database)}, not of ${database}`,
    );
  }
  const beside = place(area, `${database}_drill_${recovery.id}`, `${database}_restore_${recovery.id}`);
  const app = compose(recovery.host, settings.APP_DIR, settings);
  return postgresRestorer(part, { address, compose: app, beside, for: destination.kind }, recovery);
}

function sqlite(part: SqlitePart, area: Area): Restorer {
  const { settings, recovery, destination } = area;
  const { file } = addressOf(part, 'BACKUP_DATABASES', settings.BACKUP_DATABASES, (a) => {
    return a.via === 'sqlite' && a.name === part.name;
  }) as SqliteAddress;
  const { id, stateDir } = recovery;
  const beside = place(area, join(stateDir, `drill-${id}-${part.name}.db`), `${file}.restore-${id}`);
  return sqliteRestorer(part, { live: file, beside, for: destination.kind }, recovery);
}

function directory(part: DirectoryPart, area: Area): Restorer {
  const { settings, recovery, destination } = area;
  const named = settings.BACKUP_DIRECTORIES;
  const address = addressOf(part, 'BACKUP_DIRECTORIES', named, (a) => a.name === part.name);
  const live = locate(address, settings.APP_DIR);
  if (destination.kind === 'live') return directoryRestorer(part, live, recovery);
  const elsewhere = place(area, join(recovery.stateDir, `drill-${recovery.id}-${part.name}`), live);
  return copying(directoryCopier(part, elsewhere, recovery));
}

function bucket(part: BucketPart, area: Area): Restorer {
  const { settings, recovery, destination } = area;
  const named = settings.BACKUP_BUCKETS;
  const address = addressOf(part, 'BACKUP_BUCKETS', named, (a) => partName(a) === part.name);
  const access = bucketAccess(settings, recovery);
  if (destination.kind === 'live') return bucketRestorer(part, address, access, recovery);
  const elsewhere = place(area, siblingName(address.name, `-drill-${recovery.id}`), part.name);
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

/** The parts of a backup that `only` names, by name or by kind. @throws Failure on a name that is none */
export function selectParts(manifest: Manifest, only: readonly string[] | undefined): PartRecord[] {
  return select(manifest.parts, only, `backup ${manifest.id}`);
}
