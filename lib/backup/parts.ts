import { realpathSync } from 'node:fs';
import { join } from 'node:path';
import { compose } from '../compose.ts';
import type { Context } from '../definition.ts';
import { EXIT, Failure, throwAll } from '../failure.ts';
import {
  type DirectoryAddress,
  locate,
  type PostgresAddress,
  partName,
  type SqliteAddress,
  sameNames,
  unfitNames,
} from './addresses.ts';
import { type BucketAccess, siblingName } from './bucket.ts';
import type {
  BucketPart,
  DirectoryPart,
  Manifest,
  PartRecord,
  PostgresPart,
  Recovery,
  Restorer,
  Source,
  SqlitePart,
} from './manifest.ts';
import { postgresSource } from './postgres-dump.ts';
import { postgresRestorer } from './postgres-restore.ts';
import { bucketCopier, bucketRestorer } from './restore-bucket.ts';
import { directoryCopier, directoryRestorer } from './restore-directory.ts';
import { bucketSource } from './save-bucket.ts';
import { directorySource } from './save-directory.ts';
import { quoted } from './schema.ts';
import type { SourceSettings } from './settings.ts';
import { sqliteRestorer, sqliteSource } from './sqlite.ts';
import { Corrupted } from './store.ts';

const KINDS = new Map([
  ['databases', ['postgres', 'sqlite']],
  ['directories', ['directory']],
  ['buckets', ['bucket']],
  ['files', ['directory', 'bucket']],
]);

/** Those of `items` that `only` names, by name or by kind; all without it. @throws Failure on a name that is none */
export function select<T extends { kind: string; name: string }>(
  items: readonly T[],
  only: readonly string[] | undefined,
  where: string,
): T[] {
  if (!only) return [...items];
  const named = (name: string) =>
    items.filter((item) => item.name === name || KINDS.get(name)?.includes(item.kind));
  const unknown = only.filter((name) => named(name).length === 0);
  if (unknown.length > 0) {
    throw new Failure(`--only ${unknown.join(' ')}: no such part in ${where}`, {
      exit: EXIT.usage,
      next: `one of databases, directories, buckets, files, ${items.map((item) => item.name).join(', ')}`,
    });
  }
  return items.filter((item) => only.some((name) => named(name).includes(item)));
}

type SourcesSettings = SourceSettings & { APP_DIR: string; AWS_REGION?: string | undefined };
type Where = Pick<Context, 'host' | 'signal'>;

/** Everything that the settings name, databases first: a file without its row is harmless, a row without its file not. */
export function sourcesOf(settings: SourcesSettings, where: Where): Source[] {
  const { host } = where;
  throwAll(clashes(settings));
  const app = compose(host, settings.APP_DIR, settings);
  const databases = (settings.BACKUP_DATABASES ?? []).map((address) =>
    address.via === 'sqlite' ? sqliteSource(address) : postgresSource(address, app),
  );
  const directories = (settings.BACKUP_DIRECTORIES ?? []).map((address) =>
    directorySource(address, settings.APP_DIR),
  );
  const buckets = (settings.BACKUP_BUCKETS ?? []).map((address) =>
    bucketSource(address, bucketAccess(settings, where)),
  );
  return [...databases, ...directories, ...buckets];
}

/** Parts that would be stored, or restored, one over the other. */
function clashes({ APP_DIR, ...settings }: SourcesSettings): Failure[] {
  const databases = (settings.BACKUP_DATABASES ?? []).map((address) => ({
    ...{ kind: address.via === 'sqlite' ? 'sqlite' : 'postgres', name: partName(address) },
    ...{ uri: address.uri, setting: 'BACKUP_DATABASES' },
  }));
  const directories = (settings.BACKUP_DIRECTORIES ?? []).map(({ name, path }) => ({
    ...{ kind: 'directory', name, uri: path, setting: 'BACKUP_DIRECTORIES' },
  }));
  const buckets = (settings.BACKUP_BUCKETS ?? []).map((address) => ({
    ...{ kind: 'bucket', name: partName(address), uri: address.uri, setting: 'BACKUP_BUCKETS' },
  }));
  const items = [...databases, ...directories, ...buckets];
  return [
    ...unfitNames(items),
    ...sameNames(items),
    ...overlapping(settings.BACKUP_DIRECTORIES ?? [], APP_DIR),
  ];
}

/** Directories that are in another, or that are another. */
function overlapping(addresses: readonly DirectoryAddress[], appDir: string): Failure[] {
  const directories = addresses.map((address) => ({ ...address, place: real(locate(address, appDir)) }));
  return directories.flatMap((inner, at) => {
    const outer = directories.find((other, i) => i !== at && `${inner.place}/`.startsWith(`${other.place}/`));
    // Two ways to write one directory are told once; those of one name by their name.
    const isTold =
      outer?.place === inner.place && (directories.indexOf(outer) > at || outer.name === inner.name);
    if (!outer || isTold) return [];
    const message = `BACKUP_DIRECTORIES: ${inner.path} is in ${outer.path}: a restore of one would move the other`;
    const next = `name ${outer.path} alone, or those directories in it that are to be parts; to restore: --only one of them`;
    return [new Failure(message, { exit: EXIT.usage, next })];
  });
}

/** Where a path leads, as far as it is there. */
function real(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
}

/** Ours among the names of variables. */
const OURS = 'BACKUP_';
const OF_PARTS = ['BACKUP_DATABASES', 'BACKUP_DIRECTORIES', 'BACKUP_BUCKETS'];

/**
 * Names variables that are a slip of the pen away from a setting: a part that nobody meant to leave out would be.
 * Where the parts of the last backup are known, one that is missing is told by them, and the variable may be the app's.
 * @returns a refusal for each whose setting is not set, and a warning for each whose setting is
 */
export function nearNames(
  settings: readonly string[],
  raw: Readonly<Record<string, string>>,
  partsKnown: boolean,
): { refused: Failure[]; warnings: string[] } {
  const refused: Failure[] = [];
  const warnings: string[] = [];
  for (const name of Object.keys(raw)) {
    const meant = settings.includes(name) ? undefined : settings.find((setting) => isNear(name, setting));
    if (meant === undefined) continue;
    if (raw[meant]?.trim()) warnings.push(`${name} is no setting, and not read; ${meant} is`);
    else if (partsKnown && OF_PARTS.includes(meant))
      warnings.push(`${name} is no setting, and not read; ${meant} is, and is not set`);
    else
      refused.push(
        new Failure(`${name} is no setting of ours: ${meant} is, and is not set`, {
          exit: EXIT.usage,
          next: `write ${meant} instead of ${name}, or take it out of the environment and the env file`,
        }),
      );
  }
  return { refused, warnings };
}

function isNear(name: string, setting: string): boolean {
  const most = setting.length - OURS.length < 7 ? 1 : 3;
  const away = distance(name.toUpperCase(), setting);
  return away <= (name.toUpperCase().startsWith(OURS) ? most : Math.min(most, 2));
}

/** So many letters are to be put in, left out or replaced. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (const [i, letter] of [...a].entries()) {
    const next = [i + 1];
    for (const [j, other] of [...b].entries()) {
      const [across = 0, above = 0, left = 0] = [row[j], row[j + 1], next[j]];
      next.push(Math.min(across + Number(letter !== other), above + 1, left + 1));
    }
    row = next;
  }
  return row.at(-1) ?? 0;
}

/** What reaching the buckets of the settings takes. */
export function bucketAccess(settings: SourcesSettings, { host, signal }: Where): BucketAccess {
  const { BUCKET_ACCESS_KEY_ID: accessKeyId, BUCKET_SECRET_ACCESS_KEY: secretAccessKey } = settings;
  if (!accessKeyId !== !secretAccessKey)
    throw new Failure(
      'BUCKET_ACCESS_KEY_ID and BUCKET_SECRET_ACCESS_KEY go together; one of them is not set',
      {
        exit: EXIT.usage,
        next: 'set both, or neither to use the keys of AWS',
      },
    );
  return {
    host,
    signal,
    compose: compose(host, settings.APP_DIR, settings),
    region: settings.AWS_REGION,
    credentials: accessKeyId && secretAccessKey ? { accessKeyId, secretAccessKey } : undefined,
  };
}

/** The sources that `only` names. @throws Failure when the settings name nothing at all, or `only` something else */
export function selectSources(sources: readonly Source[], only: readonly string[] | undefined): Source[] {
  if (sources.length > 0) return select(sources, only, 'the settings');
  throw new Failure(
    'nothing to back up: BACKUP_DATABASES, BACKUP_DIRECTORIES and BACKUP_BUCKETS are not set',
    {
      exit: EXIT.usage,
      next: 'set at least one of them (docs/settings.md)',
    },
  );
}

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
  return directoryCopier(part, elsewhere, recovery);
}

function bucket(part: BucketPart, area: Area): Restorer {
  const { settings, recovery, destination } = area;
  const named = settings.BACKUP_BUCKETS;
  const address = addressOf(part, 'BACKUP_BUCKETS', named, (a) => partName(a) === part.name);
  const access = bucketAccess(settings, recovery);
  if (destination.kind === 'live') return bucketRestorer(part, address, access, recovery);
  const elsewhere = place(area, siblingName(address.name, `-drill-${recovery.id}`), part.name);
  return bucketCopier(part, elsewhere, address, access, recovery);
}

/** The parts of a backup that `only` names, by name or by kind. @throws Failure on a name that is none */
export function selectParts(manifest: Manifest, only: readonly string[] | undefined): PartRecord[] {
  return select(manifest.parts, only, `backup ${manifest.id}`);
}
