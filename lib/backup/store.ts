import type { Readable } from 'node:stream';
import { Failure } from '../failure.ts';

/** An object as a listing shows it. */
export interface Listed {
  /** Below the app's folder in the store. */
  key: string;
  bytes: number;
  modified: Date;
}

/** Where backups live. Keys are relative to the app's folder in it, so that apps cannot meet in one store. */
export interface Store {
  /** As a user would write it, with the app's folder. */
  readonly uri: string;
  /** The full address of a key, for messages and dry runs. */
  address(key: string): string;
  /** @throws Failure when it is not there or may not be written, as far as a listing does not show it */
  check(): Promise<void>;
  /** Stores a small value in one request. Nothing is there if it fails. */
  put(key: string, body: Uint8Array): Promise<void>;
  /** Stores a small value as the first in its folder. @throws Taken when another run did that before */
  claim(key: string, body: Uint8Array): Promise<void>;
  /**
   * Stores what flows, without knowing its length; `most` is the most bytes that it may become. Nothing is there
   * if the body fails.
   */
  putStream(key: string, body: AsyncIterable<Uint8Array>, most: number): Promise<void>;
  /** @throws Missing when it is not there, Failure when it may not be read */
  get(key: string): Promise<Readable>;
  /** All objects whose key starts with `prefix`, in order of key. */
  list(prefix: string): AsyncIterable<Listed>;
  remove(keys: readonly string[]): Promise<void>;
  /** Makes what was put so far survive a power cut, before the manifest says that it is there. */
  settle(): Promise<void>;
  /** Whether what is overwritten or deleted stays as an older version; undefined where that cannot be known. */
  keepsVersions?(): Promise<boolean | undefined>;
  /** Bytes free for more, where that can be known. */
  free(): Promise<number | undefined>;
}

export type StoreAddress =
  | { kind: 's3'; bucket: string; prefix: string }
  | { kind: 'file'; directory: string };

/** `s3://bucket/prefix` or `file:///directory`. */
export function parseStore(raw: string): StoreAddress {
  const s3 = /^s3:\/\/([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:\/(.*))?$/.exec(raw);
  if (s3) {
    const prefix = (s3[2] ?? '').replace(/\/+$/, '');
    if (/X{4,}/i.test(s3[1] ?? '')) throw new Error('is a placeholder, not a bucket');
    return { kind: 's3', bucket: s3[1] ?? '', prefix };
  }
  const file = /^file:\/\/(\/.+)$/.exec(raw);
  if (file) return { kind: 'file', directory: decodeURIComponent(file[1] ?? '').replace(/\/+$/, '') };
  throw new Error('is neither s3://bucket/prefix nor file:///directory');
}

/** An object that is not in the store. */
export class Missing extends Failure {}

/** What these credentials, or this user, may not read. */
export class Unreadable extends Failure {}

/** What was to be claimed was claimed by another. */
export class Taken extends Failure {}

/** What is in the store is not what was put there, or what we would have put there. */
export class Corrupted extends Failure {
  constructor(message: string, next = 'restore another backup: npx tsx scripts/backup/list.ts') {
    super(message, { next });
  }
}
