import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import type { GetObjectCommandOutput, S3Client, _Error as S3Error } from '@aws-sdk/client-s3';
import { awsFailure, interruptible, isRefused, s3Client } from '../aws.ts';
import { Failure } from '../failure.ts';
import { type Listed, Missing, type Store, Taken, Unreadable } from './store.ts';

const DELETED_AT_ONCE = 1000;

/** A store in S3, or in something that speaks its protocol. Writing needs PutObject and ListBucket, no more. */
export async function s3Store(
  bucket: string,
  folder: string,
  { region, signal }: { region: string | undefined; signal: AbortSignal },
): Promise<Store> {
  const s3 = await import('@aws-sdk/client-s3');
  const client = await s3Client({ region });
  const options = { abortSignal: signal };
  const uri = `s3://${bucket}/${folder}`;
  const at = (key: string) => ({ Bucket: bucket, Key: `${folder}/${key}` });
  const address = (key: string) => `${uri}/${key}`;

  async function* list(prefix: string): AsyncIterable<Listed> {
    const pages = s3.paginateListObjectsV2(
      { client },
      { Bucket: bucket, Prefix: `${folder}/${prefix}` },
      options,
    );
    try {
      for await (const page of pages) {
        for (const { Key = '', Size = 0, LastModified = new Date(0) } of page.Contents ?? []) {
          yield { key: Key.slice(folder.length + 1), bytes: Size, modified: LastModified };
        }
      }
    } catch (error) {
      throw explained(error, 'ListBucket', address(prefix), signal);
    }
  }

  async function put(key: string, body: Uint8Array): Promise<void> {
    const ChecksumSHA256 = createHash('sha256').update(body).digest('base64');
    try {
      await client.send(new s3.PutObjectCommand({ ...at(key), Body: body, ChecksumSHA256 }), options);
    } catch (error) {
      throw explained(error, 'PutObject', address(key), signal);
    }
  }

  async function removeSome(keys: readonly string[]): Promise<void> {
    const Delete = { Objects: keys.map((key) => ({ Key: at(key).Key })), Quiet: true };
    let errors: S3Error[];
    try {
      const command = new s3.DeleteObjectsCommand({ Bucket: bucket, Delete });
      ({ Errors: errors = [] } = await client.send(command));
    } catch (error) {
      throw awsFailure(error, 'DeleteObject', address(keys[0] ?? ''));
    }
    // DeleteObjects answers 200 and lists what it did not delete.
    const [first] = errors;
    if (!first) return;
    const which = `s3://${bucket}/${first.Key}: ${first.Code} (${errors.length} of ${keys.length})`;
    throw new Failure(`DeleteObject ${which}`, { next: 'use credentials that are allowed s3:DeleteObject' });
  }

  return {
    uri,
    address,
    list,
    put,
    // A listing shows as much, and whether objects may be written is seen by the first one.
    check: async () => {},
    async claim(key, body) {
      const command = { ...at(key), Body: body, IfNoneMatch: '*' };
      try {
        await client.send(new s3.PutObjectCommand(command), options);
      } catch (error) {
        const { name } = error as Error;
        if (name === 'PreconditionFailed' || name === 'ConditionalRequestConflict')
          throw new Taken(`${address(key)} is there already`);
        // A store that knows no conditions has no better answer than a listing, which was looked at.
        if (name !== 'NotImplemented') throw explained(error, 'PutObject', address(key), signal);
        await put(key, body);
      }
    },
    async putStream(key, body, most) {
      try {
        await upload(await interruptible(client, signal), at(key), body, most);
      } catch (error) {
        throw error instanceof Failure ? error : explained(error, 'PutObject', address(key), signal);
      }
    },
    async get(key) {
      try {
        return await download(client, at(key), signal);
      } catch (error) {
        const next = 'npx tsx scripts/backup/list.ts shows what is';
        if ((error as Error).name === 'NoSuchKey')
          throw new Missing(`${address(key)} is not there`, { next, cause: error });
        throw explained(error, 'GetObject', address(key), signal);
      }
    },
    async remove(keys) {
      for (let i = 0; i < keys.length; i += DELETED_AT_ONCE)
        await removeSome(keys.slice(i, i + DELETED_AT_ONCE));
    },
    settle: async () => {},
    async keepsVersions() {
      try {
        const command = new s3.GetBucketVersioningCommand({ Bucket: bucket });
        return (await client.send(command, options)).Status === 'Enabled';
      } catch {
        // Refused, or unknown to a store that speaks only the protocol's usual part.
        return undefined;
      }
    },
    free: async () => undefined,
  };
}

function explained(error: unknown, call: string, address: string, signal: AbortSignal): unknown {
  if (signal.aborted) return signal.reason;
  if (call !== 'GetObject' || !isRefused(error)) return awsFailure(error, call, address);
  return new Unreadable(`GetObject ${address}: refused, these credentials may not read the store`, {
    next: 'run it with the credentials of a reader: the host that takes backups needs none',
    cause: error,
  });
}

interface Place {
  Bucket: string;
  Key: string;
}

/** S3 refuses more parts than this in one upload, and parts smaller than 5 MiB. */
const MOST_PARTS = 10_000;
const PART_BYTES = 5 * 1024 * 1024;
/** Parts in flight: with parts of 5 MiB the buffers of one stream stay near 20 MiB, however long it is. */
const PARTS_IN_FLIGHT = 3;

/** Stores a flow of at most so many bytes as one object, in parts, of which the SDK sends each again that fails. */
async function upload(
  client: S3Client,
  at: Place,
  body: AsyncIterable<Uint8Array>,
  most: number,
): Promise<void> {
  const { Upload } = await import('@aws-sdk/lib-storage');
  const upload = new Upload({
    client,
    // S3 compares it on arrival; our own SHA-256 of the whole is in the manifest.
    params: { ...at, Body: Readable.from(body, { objectMode: false }), ChecksumAlgorithm: 'CRC32' },
    partSize: Math.max(PART_BYTES, Math.ceil(most / (MOST_PARTS - 1))),
    queueSize: PARTS_IN_FLIGHT,
  });
  await upload.done();
}

/** A download goes on so often with less than this in between, each time after twice the pause. */
const TRIES = 5;
const PROGRESS_BYTES = 1024 * 1024;
const PAUSE_MS = 200;

/**
 * The bytes of an object. The SDK tries again what was not answered, but not what breaks off in the middle: then the
 * rest is asked for here, of the same object.
 * @param pauseMs before it is asked for first
 * @throws what GetObject is refused with; the flow fails with the last break
 */
export async function download(
  client: S3Client,
  at: Place,
  signal: AbortSignal,
  pauseMs = PAUSE_MS,
): Promise<Readable> {
  const { GetObjectCommand } = await import('@aws-sdk/client-s3');
  const options = { abortSignal: signal };
  const first = await client.send(new GetObjectCommand(at), options);
  const rest = (from: number) =>
    client.send(new GetObjectCommand({ ...at, Range: `bytes=${from}-`, IfMatch: first.ETag }), options);
  const pause = (tries: number) =>
    sleep(pauseMs * 2 ** tries, undefined, { signal }).catch(() => signal.throwIfAborted());
  return Readable.from(goingOn(first, rest, pause), { objectMode: false });
}

async function* goingOn(
  { Body, ContentLength = 0 }: GetObjectCommandOutput,
  rest: (from: number) => Promise<GetObjectCommandOutput>,
  pause: (tries: number) => Promise<void>,
): AsyncGenerator<Uint8Array> {
  let body = Body as Readable;
  let done = 0;
  for (let tries = 0, since = 0; ; ) {
    try {
      for await (const chunk of body as AsyncIterable<Uint8Array>) {
        done += chunk.length;
        yield chunk;
      }
      return;
    } catch (error) {
      if (done - since >= PROGRESS_BYTES) tries = 0;
      if (!isBreak(error) || tries === TRIES || done >= ContentLength) throw error;
      since = done;
    }
    await pause(tries);
    tries += 1;
    body = (await rest(done)).Body as Readable;
  }
}

/** That the connection ended, as Node and the SDK name it. */
const isBreak = (error: unknown): boolean =>
  /^(ECONNRESET|EPIPE|ETIMEDOUT|ERR_STREAM_PREMATURE_CLOSE)$/.test((error as { code?: string }).code ?? '');
