import { Readable } from 'node:stream';
import type * as S3 from '@aws-sdk/client-s3';
import { awsFailure, s3Client } from '../../aws.ts';
import type { Compose } from '../../compose.ts';
import { Failure } from '../../failure.ts';
import type { Host } from '../../host.ts';
import type { Secret } from '../../secret.ts';
import type { BucketAddress } from './address.ts';
import type { Bucket, ListedObject, OpenObject } from './bucket.ts';
import { forEach } from './pool.ts';
import type { Headers } from './tree.ts';

/** What reaching a bucket takes. */
export interface BucketAccess {
  host: Host;
  compose: Compose;
  /** Of buckets in AWS; other servers are asked in us-east-1, which is what they say they are. */
  region: string | undefined;
  credentials: { accessKeyId: string; secretAccessKey: Secret } | undefined;
  signal: AbortSignal;
}

const PART_BYTES = 8 * 1024 * 1024;
const MOST_PARTS = 10_000;
const GONE = ['NoSuchKey', 'NotFound', 'PreconditionFailed'];

interface Server {
  s3: typeof S3;
  client: S3.S3Client;
  uri: string;
  signal: AbortSignal;
}

/** Opens the bucket that an item of BACKUP_BUCKETS names. @throws Failure when its compose service does not run */
export async function openBucket(
  { name, endpoint, uri }: BucketAddress,
  access: BucketAccess,
): Promise<Bucket> {
  const s3 = await import('@aws-sdk/client-s3');
  const url = endpoint && ('url' in endpoint ? endpoint.url : await addressOf(endpoint, access));
  const client = await s3Client({
    region: endpoint ? undefined : access.region,
    endpoint: url,
    credentials: access.credentials,
  });
  return s3Bucket(name, { s3, client, uri, signal: access.signal });
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
  const addresses = await host.run({ argv: ['docker', 'inspect', '--format', format, container] });
  const address = addresses.split('\n').find((line) => line.trim() !== '');
  if (address) return `http://${address.trim()}:${port}`;
  throw new Failure(`the container ${container} has no address of its own`, {
    next: 'publish its port, and write endpoint=http://127.0.0.1:PORT',
  });
}

function s3Bucket(name: string, server: Server): Bucket {
  const { s3, client, signal } = server;
  const options = { abortSignal: signal };
  const at = (key: string) => ({ Bucket: name, Key: key });
  const address = (key?: string) =>
    key === undefined ? `bucket ${name}` : `bucket ${name}, ${JSON.stringify(key)}`;
  const asked = <T>(call: string, on: string, act: () => Promise<T>): Promise<T> =>
    explaining(server, call, on, act);
  const bucket: Bucket = {
    name,
    address,
    list: () => list(name, server),
    get: (key, etag) => asked('GetObject', address(key), () => get(at(key), etag, server)),
    put: (key, Body, headers) =>
      asked('PutObject', address(key), async () => {
        await client.send(new s3.PutObjectCommand({ ...at(key), Body, ...headers }), options);
      }),
    putStream: (key, body, size, headers) =>
      asked('PutObject', address(key), () => upload({ ...at(key), ...headers }, body, size, server)),
    copy: (key, to) =>
      asked('CopyObject', `${address(key)} to ${to.address()}`, () => copy(bucket, key, to, server)),
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
    exists: () => asked('HeadBucket', address(), () => exists(name, server)),
    create: () =>
      asked('CreateBucket', address(), async () => {
        await client.send(new s3.CreateBucketCommand(await creation(name, client)), options);
      }),
    async drop() {
      const keys: string[] = [];
      for await (const { key } of bucket.list()) keys.push(key);
      await bucket.remove(keys);
      await asked('DeleteBucket', address(), () =>
        client.send(new s3.DeleteBucketCommand({ Bucket: name }), options),
      );
    },
  };
  return bucket;
}

async function explaining<T>(
  { signal }: Server,
  call: string,
  on: string,
  act: () => Promise<T>,
): Promise<T> {
  try {
    return await act();
  } catch (error) {
    if (signal.aborted) throw signal.reason;
    throw error instanceof Failure ? error : awsFailure(error, call, on);
  }
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
        yield { key, size: Size, etag: unquoted(ETag), modified: LastModified.toISOString() };
      }
    }
  } catch (error) {
    if (signal.aborted) throw signal.reason;
    throw awsFailure(error, 'ListBucket', `bucket ${name}`);
  }
}

async function get(
  at: { Bucket: string; Key: string },
  etag: string | undefined,
  { s3, client, signal }: Server,
): Promise<OpenObject | undefined> {
  const IfMatch = etag === undefined ? {} : { IfMatch: `"${etag}"` };
  try {
    const command = new s3.GetObjectCommand({ ...at, ...IfMatch });
    const found = await client.send(command, { abortSignal: signal });
    const { ContentLength = 0, ETag = '', LastModified = new Date(0), Body } = found;
    return {
      size: ContentLength,
      etag: unquoted(ETag),
      modified: LastModified.toISOString(),
      headers: headersOf(found),
      body: Body as Readable,
    };
  } catch (error) {
    if (GONE.includes((error as Error).name)) return undefined;
    throw error;
  }
}

function headersOf(found: S3.GetObjectCommandOutput): Headers {
  const { ContentType, CacheControl, ContentDisposition, ContentEncoding, ContentLanguage, Metadata } = found;
  const all = { ContentType, CacheControl, ContentDisposition, ContentEncoding, ContentLanguage, Metadata };
  const set = Object.entries(all).filter(([, value]) => value && Object.keys(value).length > 0);
  return Object.fromEntries(set);
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
  const sending = new Upload({ client, params: { ...params, Body }, partSize, queueSize: 2 });
  const abort = () => void sending.abort();
  signal.addEventListener('abort', abort, { once: true });
  try {
    await sending.done();
  } finally {
    signal.removeEventListener('abort', abort);
  }
}

async function copy(from: Bucket, key: string, to: Bucket, { s3, client, signal }: Server): Promise<boolean> {
  const CopySource = `${from.name}/${encodeURIComponent(key).replaceAll('%2F', '/')}`;
  try {
    await client.send(new s3.CopyObjectCommand({ Bucket: to.name, Key: key, CopySource }), {
      abortSignal: signal,
    });
    return true;
  } catch (error) {
    const { name, message } = error as Error;
    if (GONE.includes(name)) return false;
    // One request copies 5 GB at the most (CopyObject in the S3 API reference): larger ones go through here.
    if (
      !/InvalidRequest|EntityTooLarge|InvalidArgument/.test(name) ||
      !/large|size|5368709120|5 ?G/i.test(message)
    ) {
      throw error;
    }
  }
  const found = await from.get(key);
  if (!found) return false;
  await to.putStream(key, found.body, found.size, found.headers);
  return true;
}

async function exists(name: string, { s3, client, signal }: Server): Promise<boolean> {
  try {
    await client.send(new s3.HeadBucketCommand({ Bucket: name }), { abortSignal: signal });
    return true;
  } catch (error) {
    if (['NotFound', 'NoSuchBucket'].includes((error as Error).name)) return false;
    throw error;
  }
}

/** In us-east-1 the constraint must be absent, elsewhere it must be there. */
async function creation(name: string, client: S3.S3Client): Promise<S3.CreateBucketCommandInput> {
  const region = (await client.config.region()) as S3.BucketLocationConstraint | 'us-east-1';
  if (region === 'us-east-1') return { Bucket: name };
  return { Bucket: name, CreateBucketConfiguration: { LocationConstraint: region } };
}

const unquoted = (etag: string): string => etag.replace(/^"|"$/g, '');
