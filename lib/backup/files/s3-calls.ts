import { Readable } from 'node:stream';
import type * as S3 from '@aws-sdk/client-s3';
import { interruptible } from '../../aws.ts';
import { awsFailure } from '../../aws-failure.ts';
import type { Bucket, ListedObject, OpenObject } from './bucket.ts';
import type { Headers } from './tree.ts';

const PART_BYTES = 8 * 1024 * 1024;
const MOST_PARTS = 10_000;
const GONE = ['NoSuchKey', 'NotFound', 'PreconditionFailed'];

/** Where buckets are, and how it is spoken to. */
export interface Server {
  s3: typeof S3;
  client: S3.S3Client;
  signal: AbortSignal;
}

export async function* list(name: string, server: Server): AsyncIterable<ListedObject> {
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

export async function get(
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
      modified: seconds(LastModified),
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

export async function upload(
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

export async function copy(
  from: Bucket,
  key: string,
  to: Bucket,
  { s3, client, signal }: Server,
): Promise<boolean> {
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

export async function exists(name: string, { s3, client, signal }: Server): Promise<boolean> {
  try {
    await client.send(new s3.HeadBucketCommand({ Bucket: name }), { abortSignal: signal });
    return true;
  } catch (error) {
    if (['NotFound', 'NoSuchBucket'].includes((error as Error).name)) return false;
    throw error;
  }
}

/** In us-east-1 the constraint must be absent, elsewhere it must be there. */
export async function creation(name: string, client: S3.S3Client): Promise<S3.CreateBucketCommandInput> {
  const region = (await client.config.region()) as S3.BucketLocationConstraint | 'us-east-1';
  if (region === 'us-east-1') return { Bucket: name };
  return { Bucket: name, CreateBucketConfiguration: { LocationConstraint: region } };
}

/** A listing of MinIO has milliseconds, which the header of an object cannot have. */
const seconds = (date: Date): string => date.toISOString().replace(/\.\d+Z$/, 'Z');

const unquoted = (etag: string): string => etag.replace(/^"|"$/g, '');
