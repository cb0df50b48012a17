import { Readable } from 'node:stream';
import type * as S3 from '@aws-sdk/client-s3';
import { awsFailure, interruptible, s3Client } from '../aws.ts';
import { cmd } from '../command.ts';
import type { Compose } from '../compose.ts';
import { Failure } from '../failure.ts';
import { forEach } from '../pool.ts';
import type { Secret } from '../secret.ts';
import type { Host } from '../shell.ts';
import type { BucketAddress } from './addresses.ts';
import type { Flow } from './encryption.ts';
import type { Headers } from './schema.ts';

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

/** An S3-compatible bucket; its calls throw a Failure that names the object. */
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

/** What reaching a bucket takes. */
export interface BucketAccess {
  host: Host;
  compose: Compose;
  /** Of buckets in AWS; other servers are asked in us-east-1, which is what they say they are. */
  region: string | undefined;
  credentials: { accessKeyId: string; secretAccessKey: Secret } | undefined;
  signal: AbortSignal;
}

/** Opens the bucket that an item of BACKUP_BUCKETS names. @throws Failure when its compose service does not run */
export async function openBucket({ name, endpoint }: BucketAddress, access: BucketAccess): Promise<Bucket> {
  const s3 = await import('@aws-sdk/client-s3');
  const url = endpoint && ('url' in endpoint ? endpoint.url : await addressOf(endpoint, access));
  const client = await s3Client({
    region: endpoint ? undefined : access.region,
    endpoint: url,
    credentials: access.credentials,
  });
  return s3Bucket(name, { s3, client, signal: access.signal });
}

/** Where a compose service listens, seen from its host. */
async function addressOf(
  { service, port }: { service: string; port: number },
  { compose, host }: BucketAccess,
): Promise<string> {
  const container = await compose.container(service);
  if (!container) {
    throw new Failure(`the compose service ${service} of BACKUP_BUCKETS does not run`, {
      next: `start it: docker compose up -d ${service}`,
    });
  }
  const format = '{{range .NetworkSettings.Networks}}{{println .IPAddress}}{{end}}';
  const addresses = await host.run(cmd`docker inspect --format ${format} ${container}`);
  const address = addresses.split('\n').find((line) => line.trim() !== '');
  if (address) return `http://${address.trim()}:${port}`;
  throw new Failure(`the container ${container} has no address of its own`, {
    next: 'publish its port, and write endpoint=http://127.0.0.1:PORT',
  });
}

/** Where buckets are, and how it is reached. */
interface Server {
  s3: typeof S3;
  client: S3.S3Client;
  signal: AbortSignal;
}

const PART_BYTES = 8 * 1024 * 1024;
const MOST_PARTS = 10_000;
const GONE = ['NoSuchKey', 'NotFound', 'PreconditionFailed'];
const NO_BUCKET = ['NotFound', 'NoSuchBucket'];

function s3Bucket(name: string, server: Server): Bucket {
  const { s3, client, signal } = server;
  const options = { abortSignal: signal };
  const at = (key: string) => ({ Bucket: name, Key: key });
  const address = (key?: string) =>
    key === undefined ? `bucket ${name}` : `bucket ${name}, ${JSON.stringify(key)}`;
  /** @param gone names of errors by which a server says that it is not there; then nothing is returned */
  async function asked<T>(call: string, on: string, act: () => Promise<T>, gone: readonly string[] = []) {
    try {
      return await act();
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      if (gone.includes((error as Error).name)) return undefined;
      throw error instanceof Failure ? error : awsFailure(error, call, on);
    }
  }
  const bucket: Bucket = {
    name,
    address,
    list: () => list(name, server),
    get: (key, etag) => {
      const IfMatch = etag === undefined ? {} : { IfMatch: `"${etag}"` };
      const command = new s3.GetObjectCommand({ ...at(key), ...IfMatch });
      return asked('GetObject', address(key), async () => opened(await client.send(command, options)), GONE);
    },
    put: (key, Body, headers) =>
      asked('PutObject', address(key), async () => {
        await client.send(new s3.PutObjectCommand({ ...headers, ...at(key), Body }), options);
      }),
    putStream: (key, body, size, headers) =>
      asked('PutObject', address(key), () => upload({ ...headers, ...at(key) }, body, size, server)),
    async copy(key, to) {
      const on = `${address(key)} to ${to.address()}`;
      return (await asked('CopyObject', on, () => copy(bucket, key, to, server), GONE)) ?? false;
    },
    remove: (keys) =>
      forEach(keys, {
        signal,
        // One by one: DeleteObjects wants a header that not every server and SDK agree on.
        act: (key) =>
          asked('DeleteObject', address(key), async () => {
            await client.send(new s3.DeleteObjectCommand(at(key)), options);
          }),
      }),
    sibling: (other) => s3Bucket(other, server),
    async exists() {
      const command = new s3.HeadBucketCommand({ Bucket: name });
      const found = await asked('HeadBucket', address(), () => client.send(command, options), NO_BUCKET);
      return found !== undefined;
    },
    create: () =>
      asked('CreateBucket', address(), async () => {
        await client.send(new s3.CreateBucketCommand(await creation(name, client)), options);
      }),
    async clear() {
      const keys: string[] = [];
      for await (const { key } of bucket.list()) keys.push(key);
      await bucket.remove(keys);
    },
    async drop() {
      await bucket.clear();
      const command = new s3.DeleteBucketCommand({ Bucket: name });
      await asked('DeleteBucket', address(), () => client.send(command, options));
    },
  };
  return bucket;
}

async function* list(name: string, server: Server): AsyncIterable<ListedObject> {
  const { s3, client, signal } = server;
  // Keys may have characters that XML has no way to write.
  const input = { Bucket: name, EncodingType: 'url' as const };
  try {
    for await (const page of s3.paginateListObjectsV2({ client }, input, { abortSignal: signal })) {
      const decoded = page.EncodingType === 'url';
      for (const { Key = '', Size = 0, ETag = '', LastModified = new Date(0) } of page.Contents ?? []) {
        const key = decoded ? decodeURIComponent(Key.replaceAll('+', ' ')) : Key;
        yield { key, size: Size, etag: unquoted(ETag), modified: seconds(LastModified) };
      }
    }
  } catch (error) {
    if (signal.aborted) throw signal.reason;
    throw awsFailure(error, 'ListBucket', `bucket ${name}`);
  }
}

function opened(found: S3.GetObjectCommandOutput): OpenObject {
  const { ContentLength: size = 0, ETag = '', LastModified = new Date(0), Body } = found;
  const { ContentType, CacheControl, ContentDisposition, ContentEncoding, ContentLanguage, Metadata } = found;
  const all = { ContentType, CacheControl, ContentDisposition, ContentEncoding, ContentLanguage, Metadata };
  const set = Object.entries(all).filter(([, value]) => value && Object.keys(value).length > 0);
  const headers: Headers = Object.fromEntries(set);
  return { size, etag: unquoted(ETag), modified: seconds(LastModified), headers, body: Body as Readable };
}

async function upload(
  params: { Bucket: string; Key: string },
  body: AsyncIterable<Uint8Array>,
  size: number,
  { client, signal }: Server,
): Promise<void> {
  const { Upload } = await import('@aws-sdk/lib-storage');
  const partSize = Math.max(PART_BYTES, Math.ceil(size / (MOST_PARTS - 1)));
  const Body = Readable.from(body, { objectMode: false });
  const sender = await interruptible(client, signal);
  await new Upload({ client: sender, params: { ...params, Body }, partSize, queueSize: 2 }).done();
}

async function copy(from: Bucket, key: string, to: Bucket, { s3, client, signal }: Server): Promise<boolean> {
  const CopySource = `${from.name}/${encodeURIComponent(key).replaceAll('%2F', '/')}`;
  try {
    const command = new s3.CopyObjectCommand({ Bucket: to.name, Key: key, CopySource });
    await client.send(command, { abortSignal: signal });
    return true;
  } catch (error) {
    const { name, message } = error as Error;
    // One request copies 5 GB at the most (CopyObject in the S3 API reference): larger ones go through here.
    const isRefused = /InvalidRequest|EntityTooLarge|InvalidArgument/.test(name);
    if (!isRefused || !/large|size|5368709120|5 ?G/i.test(message)) throw error;
  }
  const found = await from.get(key);
  if (!found) return false;
  await to.putStream(key, found.body, found.size, found.headers);
  return true;
}

/** In us-east-1 the constraint must be absent, elsewhere it must be there. */
async function creation(name: string, client: S3.S3Client): Promise<S3.CreateBucketCommandInput> {
  const region = (await client.config.region()) as S3.BucketLocationConstraint | 'us-east-1';
  if (region === 'us-east-1') return { Bucket: name };
  return { Bucket: name, CreateBucketConfiguration: { LocationConstraint: region } };
}

/** A listing of MinIO has milliseconds, which the header of an object cannot have. */
const seconds = (date: Date): string => date.toISOString().replace(/\.\d+Z$/, 'Z');

const unquoted = (etag: string): string => etag.replace(/^"|"$/g, '');

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
