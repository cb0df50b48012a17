import type { Readable } from 'node:stream';
import type { Flow } from '../seal.ts';
import type { Headers } from './tree.ts';

/** An object as a listing shows it. */
export interface ListedObject {
  key: string;
  size: number;
  etag: string;
  /** ISO 8601, in seconds. */
  modified: string;
}

/** An object with its bytes. */
export interface OpenObject extends Omit<ListedObject, 'key'> {
  headers: Headers;
  body: Readable;
}

/** What is asked of an S3-compatible bucket; calls throw a Failure that names the object. */
export interface Bucket {
  readonly name: string;
  /** As messages show it. */
  address(key?: string): string;
  list(): AsyncIterable<ListedObject>;
  /** Nothing where it is not there, or, with `etag`, where it is another by now. */
  get(key: string, etag?: string): Promise<OpenObject | undefined>;
  put(key: string, body: Uint8Array, headers: Headers): Promise<void>;
  /** Nothing is there if the body fails. */
  putStream(key: string, body: Flow, size: number, headers: Headers): Promise<void>;
  /** Copies an object to the same key of another bucket of the same server; false where it is not there. */
  copy(key: string, to: Bucket): Promise<boolean>;
  remove(keys: Iterable<string>): Promise<void>;
  /** Another bucket of the same server. */
  sibling(name: string): Bucket;
  /** Whether it is there. */
  exists(): Promise<boolean>;
  create(): Promise<void>;
  /** Removes all that is in it. */
  clear(): Promise<void>;
  /** Removes the bucket with all that is in it. */
  drop(): Promise<void>;
}

/** The name of a bucket beside `bucket`: of characters and a length that every server takes. */
export function siblingName(bucket: string, suffix: string): string {
  const base = bucket
    .toLowerCase()
    .replace(/[^a-z0-9.-]/g, '-')
    .slice(0, 63 - suffix.length);
  return base.replace(/[.-]+$/, '') + suffix;
}

/** The first of `name-SUFFIX`, `name-SUFFIX-2`… that is not taken. */
export async function freeSibling(bucket: Bucket, suffix: string, n = 1): Promise<Bucket> {
  const candidate = bucket.sibling(siblingName(bucket.name, n === 1 ? suffix : `${suffix}-${n}`));
  return (await candidate.exists()) ? freeSibling(bucket, suffix, n + 1) : candidate;
}
