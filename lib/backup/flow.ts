import { pipeline, Readable, type Transform } from 'node:stream';
import { constants, createZstdCompress, createZstdDecompress } from 'node:zlib';
import type { Running } from '../host.ts';
import type { Stored } from './manifest.ts';
import type { Work } from './part.ts';
import { type Flow, measured } from './seal.ts';

/** What a command writes, ended only when it ended well: its failure is the flow's failure. */
export async function* outputOf(running: Running): AsyncGenerator<Uint8Array> {
  let whole = false;
  try {
    yield* gathered(running.stdout);
    await running.done;
    whole = true;
  } finally {
    if (!whole) running.kill();
  }
}

/** A pipe brings a few kB at a time; hashing, sealing and sending cost less on pieces of this size. */
const PIECE_BYTES = 256 * 1024;

async function* gathered(flow: Flow): AsyncGenerator<Uint8Array> {
  let pieces: Uint8Array[] = [];
  let size = 0;
  for await (const piece of flow) {
    pieces.push(piece);
    size += piece.byteLength;
    if (size < PIECE_BYTES) continue;
    yield Buffer.concat(pieces);
    pieces = [];
    size = 0;
  }
  if (size > 0) yield Buffer.concat(pieces);
}

/** Feeds a flow to a command's input and waits until it has ended. */
export async function feed(flow: Flow, running: Running): Promise<void> {
  const drained = new Promise<void>((resolve, reject) => {
    pipeline(Readable.from(flow, { objectMode: false }), running.stdin, (error) =>
      error ? reject(error) : resolve(),
    );
  });
  try {
    await Promise.all([drained, discard(running.stdout)]);
  } catch (error) {
    // A command that failed closes its input: its own words are worth more than our EPIPE.
    if ((error as NodeJS.ErrnoException).code === 'EPIPE') await running.done;
    running.kill();
    throw error;
  }
  await running.done;
}

async function discard(stream: Readable): Promise<void> {
  for await (const _ of stream);
}

const through = (flow: Flow, transform: Transform): Flow =>
  pipeline(Readable.from(flow, { objectMode: false }), transform, () => {});

/** Compresses at zstd's level 1: what pg_dump does itself from version 16 on. */
export const zstd = (flow: Flow): Flow =>
  through(flow, createZstdCompress({ params: { [constants.ZSTD_c_compressionLevel]: 1 } }));

/** What was compressed. The decompressor ends with its frame: bytes behind that would never be read, nor checked. */
export async function* unzstd(flow: Flow): AsyncGenerator<Uint8Array> {
  let whole = false;
  async function* watched(): AsyncGenerator<Uint8Array> {
    yield* flow;
    whole = true;
  }
  yield* through(watched(), createZstdDecompress());
  if (!whole) throw new Error('there are bytes behind the end of what was compressed');
}

/** Seals, measures and stores a flow. */
export async function saveFlow(
  flow: Flow,
  key: string,
  most: number,
  { sealer, store }: Pick<Work, 'sealer' | 'store'>,
  onBytes?: (total: number) => void,
): Promise<Stored> {
  const measure = measured(await sealer.seal(flow), onBytes);
  await store.putStream(key, measure.flow, most);
  return { key, ...measure.result() };
}
