import { isAbsolute, resolve } from 'node:path';
import { checkedName, takeName } from '../names.ts';
import { nameOf } from './paths.ts';

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
export interface BucketAddress {
  /** The bucket's name, and the part's unless `as` is. */
  name: string;
  /** The part's name, where `?name=` gives one: two servers may have buckets of one name. */
  as?: string;
  /** As it was written. */
  uri: string;
  /** Where it is, unless in AWS. */
  endpoint?: { url: string } | { service: string; port: number };
}

/** `images`, `images?endpoint=http://minio:9000` or `images?endpoint=compose://minio:9000`. */
export function parseBucket(raw: string): BucketAddress {
  const [name = '', query] = raw.split('?', 2);
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]$/.test(name))
    throw new Error(`${name} is no bucket's name`);
  const parameters = new URLSearchParams(query);
  const unknown = [...parameters.keys()].find((key) => key !== 'endpoint' && key !== 'name');
  if (unknown !== undefined)
    throw new Error(`${name} has the parameter ${unknown}; there are endpoint and name`);
  const endpoint = parameters.get('endpoint');
  const as = parameters.get('name');
  return {
    ...{ name, uri: raw },
    ...(as === null ? {} : { as: checkedName(as) }),
    ...(endpoint === null ? {} : { endpoint: parseEndpoint(endpoint) }),
  };
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
