import { hash } from 'node:crypto';
import { closeSync, constants, fstatSync, openSync, read as readCallback, type Stats } from 'node:fs';
import { setTimeout } from 'node:timers/promises';
import { promisify } from 'node:util';
import { Failure, messageOf } from '../failure.ts';
import { type BytePath, toBytes } from './addresses.ts';
import { type Flow, type Measure, measured } from './encryption.ts';
import { isGone, stampOf } from './walk.ts';

/** Contents up to this size are held in memory and stored in one request. */
export const SMALL = 8e6;
const CHUNK = 1 << 20;
const TRIES = 3;

const read = promisify(readCallback);

/** A file as it was at one moment: its first `stats.size` bytes. */
export interface Reading {
  stats: Stats;
  /** Milliseconds since 1970; a later write can have left the same mtime when it is not well before this. */
  at: number;
  measure: Measure;
  /** Its bytes, once more where they are many. @throws Changed at the end when they are others by then */
  content: Uint8Array | (() => Flow);
}

/** The file is being written to. */
class Changed extends Error {}

/**
 * Reads a file and hands it to `act`; again when it changes meanwhile. A file that only grows is taken as long as
 * it was at first.
 * @param label names the file in messages
 * @returns nothing when it vanished, or is no file any more
 * @throws Failure when it changes each time
 */
export async function readStable<T>(
  full: BytePath,
  label: string,
  act: (reading: Reading) => Promise<T>,
): Promise<T | undefined> {
  const named = (error: unknown): never => {
    throw unreadFailure(label, error);
  };
  const file = await openFile(toBytes(full)).catch(named);
  if (file === undefined) return undefined;
  try {
    if (!fstatSync(file).isFile()) return undefined;
    for (let attempt = 1; attempt <= TRIES; attempt += 1) {
      const reading = await take(file).catch(named);
      if (!reading) continue;
      // A store makes an error of its own of what the body throws: whether it changed is known here alone.
      const watched = watch(reading);
      try {
        return await act(watched.reading);
      } catch (error) {
        if (!watched.changed()) throw error;
      }
    }
  } finally {
    closeSync(file);
  }
  throw new Failure(`${label} changed while it was read, ${TRIES} times`, {
    next: 'stop what writes to it, or move it out of the directory',
  });
}

// Its inode was looked at by the walk just now, so that opening it waits for no disk; only reading does.
async function openFile(full: Buffer): Promise<number | undefined> {
  try {
    // What was a file when it was listed may be a symlink or a pipe by now; neither is to be followed or waited for.
    return openSync(full, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    if (isGone(error)) return undefined;
    throw error;
  }
}

function unreadFailure(label: string, error: unknown): Failure {
  const { code } = error as NodeJS.ErrnoException;
  return new Failure(`${label} cannot be read (${messageOf(error)})`, {
    next: code === 'EACCES' ? 'run it as its owner or as root' : 'check the disk; then run the backup again',
    cause: error,
  });
}

/** A file that was written to so shortly before it was read may be written again without a new mtime. */
const RACY_MS = 2_000;
/** So coarsely the kernel's clock ticks by which a ctime is set. */
const TICK_MS = 20;

/** Whether what is written to a file after `at` will be seen by its times. Some file systems keep them in seconds. */
export const isSettled = ({ mtimeMs, ctimeMs }: Stats, at: number): boolean =>
  at - mtimeMs >= RACY_MS && at - ctimeMs >= (ctimeMs % 1000 === 0 ? RACY_MS : TICK_MS);

async function take(file: number): Promise<Reading | undefined> {
  const age = Date.now() - fstatSync(file).ctimeMs;
  if (age >= 0 && age <= TICK_MS) await setTimeout(TICK_MS + 2);
  const at = Date.now();
  const stats = fstatSync(file);
  const content = stats.size <= SMALL ? await wholeOf(file, stats.size) : undefined;
  const measure = content ? measureOf(content) : await drain(file, stats.size);
  if (measure.bytes < stats.size) return undefined;
  const after = fstatSync(file);
  if (stampOf(after) !== stampOf(stats)) {
    if ((await drain(file, stats.size)).sha256 !== measure.sha256) return undefined;
  }
  return { at, stats, measure, content: content ?? (() => bytesOf(file, stats.size)) };
}

function watch(reading: Reading): { reading: Reading; changed(): boolean } {
  const { content, measure } = reading;
  let changed = false;
  if (content instanceof Uint8Array) return { reading, changed: () => changed };
  async function* checked(flow: () => Flow): AsyncGenerator<Uint8Array> {
    const again = measured(flow());
    yield* again.flow;
    changed = again.result().sha256 !== measure.sha256;
    if (changed) throw new Changed('the file changed');
  }
  return { reading: { ...reading, content: () => checked(content) }, changed: () => changed };
}

async function wholeOf(file: number, size: number): Promise<Uint8Array> {
  const buffer = Buffer.allocUnsafe(size);
  let at = 0;
  while (at < size) {
    const { bytesRead } = await read(file, buffer, at, size - at, at);
    if (bytesRead === 0) break;
    at += bytesRead;
  }
  return buffer.subarray(0, at);
}

/** @param reused memory for every piece in turn, where nobody keeps one */
async function* bytesOf(file: number, size: number, reused?: Buffer): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < size; ) {
    const most = Math.min(CHUNK, size - at);
    const buffer = reused ?? Buffer.allocUnsafeSlow(most);
    const { bytesRead } = await read(file, buffer, 0, most, at);
    if (bytesRead === 0) return;
    at += bytesRead;
    yield buffer.subarray(0, bytesRead);
  }
}

async function drain(file: number, size: number): Promise<Measure> {
  const reading = measured(bytesOf(file, size, Buffer.allocUnsafeSlow(Math.min(CHUNK, size))));
  for await (const _ of reading.flow);
  return reading.result();
}

export const measureOf = (content: Uint8Array): Measure => ({
  bytes: content.byteLength,
  sha256: hash('sha256', content, 'hex'),
});
