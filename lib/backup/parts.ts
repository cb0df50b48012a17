import { realpathSync } from 'node:fs';
import { compose } from '../compose.ts';
import type { Context } from '../definition.ts';
import { EXIT, Failure, throwAll } from '../failure.ts';
import { CONTROLS, type DirectoryAddress, locate, partName } from './addresses.ts';
import type { BucketAccess } from './bucket.ts';
import type { Source } from './manifest.ts';
import type { SourceSettings } from './settings.ts';

export type PartsSettings = SourceSettings & { APP_DIR: string; AWS_REGION?: string | undefined };
type Where = Pick<Context, 'host' | 'signal'>;

/**
 * Everything that the settings name, databases first: a file without its row is harmless, a row without its file not.
 * Only what backs up the kinds that there are is loaded.
 * @throws Failure or Problems naming parts that would be stored, or restored, one over the other
 */
export async function sourcesOf(settings: PartsSettings, where: Where): Promise<Source[]> {
  throwAll(clashes(settings));
  const { BACKUP_DATABASES = [], BACKUP_DIRECTORIES = [], BACKUP_BUCKETS = [], APP_DIR } = settings;
  const sources: Source[] = [];
  for (const address of BACKUP_DATABASES) {
    if (address.via === 'sqlite') sources.push((await import('./sqlite.ts')).sqliteSource(address));
    else {
      const { postgresSource } = await import('./postgres-dump.ts');
      sources.push(postgresSource(address, compose(where.host, APP_DIR, settings)));
    }
  }
  for (const address of BACKUP_DIRECTORIES)
    sources.push((await import('./save-directory.ts')).directorySource(address, APP_DIR));
  for (const address of BACKUP_BUCKETS)
    sources.push((await import('./save-bucket.ts')).bucketSource(address, bucketAccess(settings, where)));
  return sources;
}

const KINDS = new Map([
  ['databases', ['postgres', 'sqlite']],
  ['directories', ['directory']],
  ['buckets', ['bucket']],
  ['files', ['directory', 'bucket']],
]);

/** Those of `items` that `only` names, by name or by kind; all without it. @throws Failure on a name of none */
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

/** Parts that would be stored, or restored, one over the other. */
function clashes({
  BACKUP_DATABASES = [],
  BACKUP_DIRECTORIES = [],
  BACKUP_BUCKETS = [],
  APP_DIR,
}: PartsSettings) {
  const items: Item[] = [
    ...BACKUP_DATABASES.map((address) => ({
      ...{ kind: address.via === 'sqlite' ? 'sqlite' : 'postgres', name: partName(address) },
      ...{ uri: address.uri, setting: 'BACKUP_DATABASES' },
    })),
    ...BACKUP_DIRECTORIES.map(({ name, path }) => ({
      ...{ kind: 'directory', name, uri: path, setting: 'BACKUP_DIRECTORIES' },
    })),
    ...BACKUP_BUCKETS.map((address) => ({
      ...{ kind: 'bucket', name: partName(address), uri: address.uri, setting: 'BACKUP_BUCKETS' },
    })),
  ];
  return [...unfitNames(items), ...sameNames(items), ...overlapping(BACKUP_DIRECTORIES, APP_DIR)];
}

/** A part, and where the settings name it. */
interface Item {
  kind: string;
  name: string;
  /** As messages show it. */
  uri: string;
  setting: string;
}

/**
 * Refuses parts of one kind and one name: one would be stored over the other, and be restored into it.
 * @returns a failure for each that is named like one before it
 */
function sameNames(items: readonly Item[]): Failure[] {
  const names = new Set(items.map(({ name }) => name));
  return items.flatMap((item, at) => {
    const first = items.slice(0, at).find(({ kind, name }) => kind === item.kind && name === item.name);
    if (!first) return [];
    const { setting, uri, name } = item;
    if (first.uri === uri) return [wrong(`${setting} names ${uri} twice`, 'name it once')];
    const message = `${setting}: the parts of ${first.uri} and ${uri} would both be called ${name}`;
    const named = `${uri}${uri.includes('?') ? '&' : '?'}name=${suggestion(uri, name, names)}`;
    return [wrong(message, `name the second: write ${named}`)];
  });
}

/** Refuses names that no message and no key could show as they are: a database may be called anything. */
const unfitNames = (items: readonly Item[]): Failure[] =>
  items
    .filter(({ name }) => CONTROLS.test(name))
    .map(({ setting, uri }) => {
      const message = `${setting}: the name of the part of ${uri} would have control characters`;
      return wrong(message, 'name it: write ?name=NAME behind it');
    });

const wrong = (message: string, next: string) => new Failure(message, { exit: EXIT.usage, next });

/** A name that tells where it comes from: the segment before the last, and its own. */
function suggestion(uri: string, name: string, taken: Set<string>): string {
  const [path = ''] = uri.replace(/^[a-z]+:\/\/+(?:[^@/]*@)?/, '').split('?');
  const segments = path.split('/').filter((segment) => !/^\.*$/.test(segment));
  const from = segments.length > 1 ? segments.at(-2) : uri.replace(/^.*endpoint=\w+:\/\//, '');
  const base = `${from}-${name}`.replaceAll(/[^A-Za-z0-9._-]+/g, '-').replace(/^[.-]+/, '');
  let suggested = base;
  for (let n = 2; taken.has(suggested); n += 1) suggested = `${base}-${n}`;
  taken.add(suggested);
  return suggested;
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
    return [wrong(message, next)];
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

/** What reaching the buckets of the settings takes. */
export function bucketAccess(settings: PartsSettings, { host, signal }: Where): BucketAccess {
  const { BUCKET_ACCESS_KEY_ID: accessKeyId, BUCKET_SECRET_ACCESS_KEY: secretAccessKey } = settings;
  if (!accessKeyId !== !secretAccessKey)
    throw wrong(
      'BUCKET_ACCESS_KEY_ID and BUCKET_SECRET_ACCESS_KEY go together; one of them is not set',
      'set both, or neither to use the keys of AWS',
    );
  return {
    host,
    signal,
    compose: compose(host, settings.APP_DIR, settings),
    region: settings.AWS_REGION,
    credentials: accessKeyId && secretAccessKey ? { accessKeyId, secretAccessKey } : undefined,
  };
}
