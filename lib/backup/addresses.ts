import { basename, isAbsolute, resolve } from 'node:path';
import { Secret } from '../secret.ts';

/** Characters that would end a line, or steer a terminal. */
export const CONTROLS = /[\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]/;

/** What the settings name as a part. */
interface Named {
  /** What `?name=` behind it says: two servers may have databases, or buckets, of one name. */
  as?: string;
  /** As it was written, but for a password. */
  uri: string;
}

/** What a part is called: as `?name=` says, or as what it is of. */
export const partName = (address: Pick<Named, 'as'> & ({ name: string } | { database: string })): string =>
  address.as ?? ('database' in address ? address.database : address.name);

/**
 * The part's name that an item of a setting gives behind it (`…?name=orders`), and the item without that.
 * @throws Error for a name that is not fit for keys and files
 */
function takeName(raw: string): { item: string } & Pick<Named, 'as'> {
  const found = /^(.*)(\?|\?.*&)name=([^&]*)(.*)$/s.exec(raw);
  if (!found) return { item: raw };
  const [, before = '', between = '', as = '', behind = ''] = found;
  const rest = between === '?' ? behind.replace('&', '?') : between.slice(0, -1) + behind;
  const name = decoded(as);
  if (/^[A-Za-z0-9][\w.-]*$/.test(name)) return { item: before + rest, as: name };
  throw new Error('has a wrong ?name=, which may contain only letters, digits, ".", "_" and "-"');
}

/** What percent signs stand for; the text itself where they stand for nothing. */
function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** A part's name as a segment of a key: a database may be called anything. */
export const keyName = (name: string): string => name.replaceAll(/[%/\\]/g, encodeURIComponent);

/**
 * A file's path below the directory, with one character per byte (latin1): file names are bytes, and UTF-8 cannot
 * hold them all. The directory itself is the empty path.
 */
export type BytePath = string;

/** What file system calls are given. */
export const toBytes = (path: BytePath): Buffer => Buffer.from(path, 'latin1');

/** A path of the settings, which is text, as bytes. */
export const fromText = (path: string): BytePath => Buffer.from(path, 'utf8').toString('latin1');

/** `root/path`, both as bytes. */
export const below = (root: BytePath, path: BytePath): BytePath => (path === '' ? root : `${root}/${path}`);

/** The path as UTF-8 text; undefined where it is not UTF-8. */
export function toText(path: BytePath): string | undefined {
  if (!/[\x80-\xff]/.test(path)) return path;
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(toBytes(path));
  } catch {
    return undefined;
  }
}

/** The path for a message: on one line, whatever its bytes are. */
export function shown(path: BytePath): string {
  const text = toText(path) ?? toBytes(path).toString('utf8');
  return /^[^\x00-\x1f\x7f'"\\]+$/.test(text) ? text : JSON.stringify(text);
}

/** Up to five of `paths`, and how many more there are. */
export function some(paths: readonly string[]): string {
  const more = paths.length - 5;
  return paths.slice(0, 5).join(', ') + (more > 0 ? ` and ${more} more` : '');
}

/** Names at the top of a directory that are not its data: what a restore keeps there, and what mkfs made. */
export const isForeign = (name: BytePath): boolean => /^(\.opsbook(-.*)?|lost\+found)$/.test(name);

/** The last segment of a path as a part's name: fit for a key. */
function nameOf(path: string): string {
  return basename(path)
    .replace(/[^A-Za-z0-9._-]+/g, '-')
    .replace(/^[.-]+|[.-]+$/g, '');
}

/** An item of BACKUP_DIRECTORIES. */
export interface DirectoryAddress {
  /** The part's name. */
  name: string;
  /** Absolute, or below APP_DIR. */
  path: string;
}

/** `uploads` below APP_DIR, or `/srv/x`; the part is named after the last segment, or by `?name=`. */
export function parseDirectory(raw: string): DirectoryAddress {
  const { item: path, as } = takeName(raw);
  const name = as ?? nameOf(path);
  if (name === '') throw new Error(`${raw} gives no name for the part; write ${raw}?name=NAME`);
  return { name, path };
}

/** Where a directory is on this host. */
export function locate({ path }: DirectoryAddress, appDir: string): string {
  return isAbsolute(path) ? resolve(path) : resolve(appDir, path);
}

/** An item of BACKUP_BUCKETS. */
export interface BucketAddress extends Named {
  /** The bucket's name, and the part's unless `as` is. */
  name: string;
  /** Where it is, unless in AWS. */
  endpoint?: { url: string } | { service: string; port: number };
}

/** `images`, `images?endpoint=http://minio:9000` or `images?endpoint=compose://minio:9000`. */
export function parseBucket(raw: string): BucketAddress {
  const { item, ...named } = takeName(raw);
  const [name = '', query] = item.split('?', 2);
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]$/.test(name))
    throw new Error(`${name} is not the name of a bucket`);
  const parameters = new URLSearchParams(query);
  const unknown = [...parameters.keys()].find((key) => key !== 'endpoint');
  if (unknown !== undefined)
    throw new Error(`${name} has the parameter ${unknown}; there are endpoint and name`);
  const endpoint = parameters.get('endpoint');
  return { name, uri: raw, ...named, ...(endpoint !== null && { endpoint: parseEndpoint(endpoint) }) };
}

function parseEndpoint(raw: string): NonNullable<BucketAddress['endpoint']> {
  const [, service, port] = /^compose:\/\/([A-Za-z0-9][\w.-]*):(\d{1,5})$/.exec(raw) ?? [];
  if (service !== undefined) return { service, port: Number(port) };
  const url = URL.canParse(raw) ? new URL(raw) : undefined;
  if (url?.username || url?.password) {
    throw new Error('has a password in an endpoint; set BUCKET_ACCESS_KEY_ID and BUCKET_SECRET_ACCESS_KEY');
  }
  if (url && /^https?:$/.test(url.protocol)) return { url: raw.replace(/\/+$/, '') };
  throw new Error(`endpoint ${raw} is neither http(s)://HOST:PORT nor compose://SERVICE:PORT`);
}

/** A PostgreSQL database: in a compose service's container, or reached directly. */
export type PostgresAddress = Named & { database: string } & (
    | { via: 'compose'; service: string; user: string | undefined }
    | { via: 'direct'; env: Record<string, string | Secret> }
  );

/** `compose://db/bloaty?user=postgres`: the database `bloaty` in the container of the service `db`. */
export function parseCompose(raw: string): PostgresAddress {
  const { item, ...named } = takeName(raw);
  const found = /^compose:\/\/([\w.-]+)\/([^?/]+)(?:\?user=([^&]+))?$/.exec(item);
  if (!found) throw new Error('is not compose://SERVICE/DATABASE?user=USER');
  const [, service = '', database = '', user] = found;
  return {
    ...{ via: 'compose', service, database: decodeURIComponent(database), uri: raw, ...named },
    user: user === undefined ? undefined : decodeURIComponent(user),
  };
}

/** Query parameters of a URL that libpq reads from the environment. */
const PARAMETERS: Record<string, string> = {
  sslmode: 'PGSSLMODE',
  sslrootcert: 'PGSSLROOTCERT',
  connect_timeout: 'PGCONNECT_TIMEOUT',
  options: 'PGOPTIONS',
};

/** `postgres://user:password@host:5432/db?sslmode=require`; the password stays out of everything that is shown. */
export function parseDirect(raw: string): PostgresAddress {
  const { item, ...named } = takeName(raw);
  const url = URL.parse(item.replace(/^postgres(ql)?:/, 'postgresql:'));
  if (!url)
    throw new Error('is not a URL; a password with "/", "#", "?" or "@" in it must be percent-encoded');
  const database = decodeURIComponent(url.pathname.slice(1));
  if (!database || !url.hostname) throw new Error('is not postgres://USER:PASSWORD@HOST:PORT/DATABASE');
  const env: Record<string, string | Secret> = { PGHOST: url.hostname, PGPORT: url.port || '5432' };
  if (url.username) env.PGUSER = decodeURIComponent(url.username);
  if (url.password) env.PGPASSWORD = new Secret(decodeURIComponent(url.password));
  for (const [name, value] of url.searchParams) {
    const variable = Object.hasOwn(PARAMETERS, name) ? PARAMETERS[name] : undefined;
    if (!variable)
      throw new Error(`has the parameter ${name}; known are name, ${Object.keys(PARAMETERS).join(', ')}`);
    env[variable] = value;
  }
  const user = url.username ? `${url.username}@` : '';
  const uri = `postgres://${user}${url.host}/${url.pathname.slice(1)}`;
  return { via: 'direct', database, env, uri, ...named };
}

/** A SQLite database by its file. */
export interface SqliteAddress {
  via: 'sqlite';
  file: string;
  /** The part's name: the file's, without its ending, or what `?name=` says. */
  name: string;
  uri: string;
}

/** `sqlite:///home/ec2-user/data/code_monet.db`. */
export function parseSqlite(raw: string): SqliteAddress {
  const { item, as } = takeName(raw);
  const found = /^sqlite:\/\/(\/.+)$/.exec(item);
  if (!found) throw new Error('is not sqlite:// and an absolute path');
  const file = decodeURIComponent(found[1] ?? '');
  const own = basename(file)
    .replace(/\.[^.]+$/, '')
    .replaceAll(/[^\w.-]/g, '_');
  const name = as ?? own;
  if (/^\.*$/.test(name)) throw new Error('gives no name for the part; write ?name=NAME behind the file');
  return { via: 'sqlite', file, name, uri: raw };
}
