import { Readable } from 'node:stream';
import { measureOf } from '../../../lib/backup/blobs.ts';
import type { Bucket } from '../../../lib/backup/bucket.ts';
import type { Headers } from '../../../lib/backup/schema.ts';

interface Held {
  body: Uint8Array;
  headers: Headers;
  modified: string;
}

/** A server with buckets in memory, which says what it was asked, and may be told to fail. */
export class MemoryServer {
  readonly buckets = new Map<string, Map<string, Held>>();
  readonly asked: string[] = [];
  /** Called before each request; what it throws is what the request does. */
  before: (request: string) => void = () => {};
  #time = Date.parse('2026-01-01T00:00:00Z');

  /** A request, counted and perhaps refused. */
  ask(request: string): void {
    this.asked.push(request);
    this.before(request);
  }

  set(bucket: string, key: string, text: string | Uint8Array, headers: Headers = {}): void {
    this.#time += 1000;
    const modified = new Date(this.#time).toISOString().replace('.000', '');
    this.#open(bucket).set(key, { body: Buffer.from(text), headers, modified });
  }

  /** The texts in a bucket by key, or nothing where it is not there. */
  texts(bucket: string): Record<string, string> | undefined {
    const held = this.buckets.get(bucket);
    return (
      held && Object.fromEntries([...held].map(([key, { body }]) => [key, Buffer.from(body).toString()]))
    );
  }

  #open(bucket: string): Map<string, Held> {
    const held = this.buckets.get(bucket);
    if (held) return held;
    const created = new Map<string, Held>();
    this.buckets.set(bucket, created);
    return created;
  }

  bucket(name: string): Bucket {
    const held = () => {
      const found = this.buckets.get(name);
      if (!found) throw new Error(`NoSuchBucket ${name}`);
      return found;
    };
    const etag = ({ body }: Held) => measureOf(body).sha256.slice(0, 32);
    const bucket: Bucket = {
      name,
      address: (key) => (key === undefined ? `bucket ${name}` : `bucket ${name}, "${key}"`),
      list: async function* (this: void) {
        for (const [key, object] of [...held()].sort(([a], [b]) => (a < b ? -1 : 1))) {
          yield { key, size: object.body.length, etag: etag(object), modified: object.modified };
        }
      },
      get: async (key, wanted) => {
        this.ask(`get ${name}/${key}`);
        const object = held().get(key);
        if (!object || (wanted !== undefined && wanted !== etag(object))) return undefined;
        const { body, headers, modified } = object;
        return { size: body.length, etag: etag(object), modified, headers, body: Readable.from([body]) };
      },
      put: async (key, body, headers) => {
        this.ask(`put ${name}/${key}`);
        held();
        this.set(name, key, body, headers);
      },
      putStream: async (key, flow, _size, headers) => {
        this.ask(`put ${name}/${key}`);
        const body = Buffer.concat(await Array.fromAsync(flow));
        this.set(name, key, body, headers);
      },
      copy: async (key, to) => {
        this.ask(`copy ${name}/${key} ${to.name}`);
        const object = held().get(key);
        if (!object) return false;
        if (!this.buckets.has(to.name)) throw new Error(`NoSuchBucket ${to.name}`);
        this.set(to.name, key, object.body, object.headers);
        return true;
      },
      remove: async (keys) => {
        for (const key of keys) {
          this.ask(`remove ${name}/${key}`);
          held().delete(key);
        }
      },
      sibling: (other) => this.bucket(other),
      exists: async () => this.buckets.has(name),
      create: async () => {
        this.ask(`create ${name}`);
        this.#open(name);
      },
      clear: async () => held().clear(),
      drop: async () => {
        this.ask(`drop ${name}`);
        this.buckets.delete(name);
      },
    };
    return bucket;
  }
}
