import { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import type { GetObjectCommandOutput, S3Client } from '@aws-sdk/client-s3';

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
export async function upload(
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
