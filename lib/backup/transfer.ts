import { statfs } from 'node:fs/promises';
import { pipeline, Readable, type Transform } from 'node:stream';
import { pipeline as piped } from 'node:stream/promises';
import { constants, createZstdCompress, createZstdDecompress } from 'node:zlib';
import { EXIT, Failure, Interrupted, messageOf } from '../failure.ts';
import { bytes } from '../format.ts';
import type { Running } from '../shell.ts';
import type { Blobs } from './blobs.ts';
import { counted, type Decrypter, type Encrypter, type Flow, type Measure, measured } from './encryption.ts';
import type { Recovery, Stored, Work } from './manifest.ts';
import { Corrupted, Missing, type Store } from './store.ts';

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

/** A pipe brings a few kB at a time; hashing, encrypting and sending cost less on pieces of this size. */
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
  const drained = piped(Readable.from(flow, { objectMode: false }), running.stdin);
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

/** Encrypts, measures and stores a flow. */
export async function saveFlow(
  flow: Flow,
  key: string,
  most: number,
  { encrypter, store }: Pick<Work, 'encrypter' | 'store'>,
  onBytes?: (total: number) => void,
): Promise<Stored> {
  const measure = measured(await encrypter.encrypt(flow), onBytes);
  await store.putStream(key, measure.flow, most);
  return { key, ...measure.result() };
}

/** A content that is not in the store, or not what it was. */
export class Damaged extends Failure {}

/** A content as a tree names it. */
interface Named {
  key: string;
  measure: Measure;
  /** Names what it belongs to: part and file. */
  label: string;
}

/**
 * The bytes of a content in the store; they are checked when all of them have flowed.
 * @throws Damaged when it is missing, truncated or another
 */
export async function* contentFlow(
  { store, decrypter }: { store: Store; decrypter: Decrypter },
  { key, measure, label }: Named,
): AsyncGenerator<Uint8Array> {
  const damaged = (how: string, cause?: unknown) =>
    new Damaged(`${label}: its content ${store.address(key)} ${how}`, {
      next: 'restore it from another backup: npx tsx scripts/backup/list.ts',
      cause,
    });
  let found: Measure;
  try {
    const reading = measured(await decrypter.decrypt(await store.get(key), key));
    yield* reading.flow;
    found = reading.result();
  } catch (error) {
    if (error instanceof Missing) throw damaged('is missing', error);
    if (isOther(error)) throw error;
    // What age and the SDK's own checksum throw about bytes that are not what was stored.
    throw damaged(`is damaged (${messageOf(error)})`, error);
  }
  if (found.bytes !== measure.bytes) throw damaged(`has ${found.bytes} of ${measure.bytes} bytes`);
  if (found.sha256 !== measure.sha256) throw damaged(`is damaged: its SHA-256 is ${found.sha256}`);
}

/** A content that fits into memory, whole and checked. */
export async function fetchWhole(from: Parameters<typeof contentFlow>[0], content: Named): Promise<Buffer> {
  return Buffer.concat(await Array.fromAsync(contentFlow(from, content)));
}

/** Whether the store, the disk or a signal is behind an error, not the bytes. */
function isOther(error: unknown): boolean {
  const { name, code, $metadata } = error as NodeJS.ErrnoException & { $metadata?: unknown };
  return (
    error instanceof Failure ||
    error instanceof Interrupted ||
    name === 'AbortError' ||
    name === 'TimeoutError' ||
    $metadata !== undefined ||
    (code !== undefined && !code.startsWith('ERR_'))
  );
}

/** Whether the backup itself is the trouble, not the way to it. */
export const isDamage = (error: unknown): error is Failure =>
  error instanceof Corrupted || error instanceof Damaged || error instanceof Missing;

/** For a check, which looks for damage: what finds some exits with 3. */
export async function asFinding<T>(act: () => Promise<T>): Promise<T> {
  try {
    return await act();
  } catch (error) {
    if (!isDamage(error)) throw error;
    throw new Failure(error.message, { exit: EXIT.problem, next: error.next ?? '', cause: error });
  }
}

/**
 * Hands the plain bytes of a stored object to `use`; their flow fails at its end when they are not what was stored.
 * What age or zstd say of broken bytes does not tell that they are broken: the object is then read once more to see
 * whether it is what was stored.
 * @param onBytes hears how many bytes were read so far
 * @throws Corrupted where it is not what was stored, else what `use` threw
 */
export async function readStored<T>(
  object: Stored,
  part: string,
  { store, decrypter, onBytes }: Reading,
  use: (plain: Flow) => Promise<T>,
): Promise<T> {
  const { key } = object;
  const measure = measured(await store.get(key), onBytes);
  async function* verified(): AsyncGenerator<Uint8Array> {
    try {
      yield* measure.flow;
    } catch (error) {
      if (error instanceof Failure || error instanceof Interrupted) throw error;
      const next = 'check that the store answers, and run it again';
      const message = `part ${part}: reading ${store.address(key)} was cut off: ${messageOf(error)}`;
      throw new Failure(message, { next, cause: error });
    }
    refuseOther(object, part, store, measure.result());
  }
  try {
    return await use(await decrypter.decrypt(verified(), key));
  } catch (error) {
    if (!isSymptom(error)) throw error;
    const found = await measureStored(object, store).catch(() => undefined);
    if (found) refuseOther(object, part, store, found);
    throw error;
  }
}

type Reading = Pick<Recovery, 'store' | 'decrypter'> & { onBytes?: (total: number) => void };

function refuseOther({ key, sha256, bytes }: Stored, part: string, store: Store, found: Measure): void {
  if (found.sha256 === sha256) return;
  const what = found.bytes < bytes ? `is truncated: ${found.bytes} of ${bytes} bytes` : 'is corrupted';
  throw new Corrupted(`part ${part}: ${store.address(key)} ${what}`);
}

/** "Encrypted to another key" is what age says of a broken header too. */
const isSymptom = (error: unknown) =>
  error instanceof Failure
    ? error.exit === EXIT.usage && error.cause !== undefined
    : !(error instanceof Interrupted);

async function measureStored({ key }: Stored, store: Store): Promise<Measure> {
  const measure = measured(await store.get(key));
  for await (const _ of measure.flow);
  return measure.result();
}

/** What a stream of a store may hold in memory: a few parts of an upload. */
const STREAM_MEMORY = 24e6;

/** Stores a content unless it is in the store. */
export async function storeContent(
  { store, encrypter, contents }: Pick<Work, 'store' | 'encrypter'> & { contents: Blobs },
  measure: Measure,
  content: Uint8Array | (() => Flow),
): Promise<void> {
  await contents.add(measure, async (key) => {
    if (content instanceof Uint8Array) {
      const encrypted = await encrypter.encryptBytes(content);
      await store.put(key, encrypted);
      return encrypted.byteLength;
    }
    const encrypted = counted(await encrypter.encrypt(content()));
    await store.putStream(key, encrypted.flow, mostEncrypted(measure.bytes));
    return encrypted.bytes();
  });
}

/** age adds a header and 16 bytes to each 64 KiB. */
const mostEncrypted = (bytes: number): number => bytes + 16 * Math.ceil(bytes / 65_536) + 2_048;

/** Memory that a content takes while it is stored. */
export function memoryFor(size: number, small: number, encrypter: Encrypter): number {
  if (size > small) return STREAM_MEMORY;
  return encrypter.recipient === null ? size : 2 * size;
}

/** What must stay free on a disk beside what we write to it. */
const RESERVE = 64 * 1024 * 1024;

/** @throws Failure when the disk of `directory` has no room for `needed` bytes more */
export async function enoughSpace(directory: string, needed: number, what: string): Promise<void> {
  const { bavail, bsize } = await statfs(directory);
  refuseIfShort(bavail * bsize, needed, directory, what);
}

/** @throws Failure when `free` is not enough for `needed` and a reserve */
export function refuseIfShort(free: number, needed: number, where: string, what: string): void {
  if (free >= needed + RESERVE) return;
  throw new Failure(`${what} needs ${bytes(needed)}, ${where} has ${bytes(free)} free`, {
    next: `free space on the disk of ${where}`,
  });
}
