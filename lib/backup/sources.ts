import { realpathSync } from 'node:fs';
import { compose } from '../compose.ts';
import { EXIT, Failure, throwAll } from '../failure.ts';
import type { Context } from '../script.ts';
import { type DirectoryAddress, locate } from './files/address.ts';
import { bucketSource } from './files/bucket-source.ts';
import { directorySource } from './files/directory.ts';
import type { BucketAccess } from './files/s3-bucket.ts';
import { partName, sameNames, unfitNames } from './names.ts';
import type { Source } from './part.ts';
import { postgresSource } from './postgres/source.ts';
import { select } from './select.ts';
import type { SourceSettings } from './settings.ts';
import { sqliteSource } from './sqlite/source.ts';

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
export function overlapping(addresses: readonly DirectoryAddress[], appDir: string): Failure[] {
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
