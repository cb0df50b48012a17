import {
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  fstatSync,
  fsyncSync,
  futimesSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readlinkSync,
  renameSync,
  rmdirSync,
  writeSync,
} from 'node:fs';
import { chmod, type FileHandle, lchown, lutimes, mkdir, open, symlink } from 'node:fs/promises';
import { Failure } from '../failure.ts';
import { pathOf } from '../state.ts';
import { type BytePath, below, fromText, isForeign, toBytes } from './addresses.ts';
import type { Flow } from './encryption.ts';
import type { Entry, FileEntry } from './tree.ts';

export interface Attributes {
  mode: number;
  uid: number;
  gid: number;
  /** Microseconds since 1970. */
  mtime: number;
}

export type Rename = (from: Buffer, to: Buffer) => void;

/**
 * Moves by rename all that is in a directory, which has to be `ours` where it was made by this script; what occupies a
 * name at the other side is renamed there, never lost.
 */
export function moveAll(
  from: string,
  to: string,
  names: readonly BytePath[],
  rename: Rename = renameSync,
  { ours = false } = {},
): void {
  holding(from, (source) =>
    holding(to, (destination) => {
      if (ours && fstatSync(source.handle).uid !== process.geteuid?.()) throw led(from);
      for (const name of names) {
        const target = below(fromText(destination.at), name);
        if (isThere(target)) rename(toBytes(target), toBytes(freeName(target)));
        rename(toBytes(below(fromText(source.at), name)), toBytes(target));
      }
      fsyncSync(source.handle);
      fsyncSync(destination.handle);
    }),
  );
}

/** A directory that is held open: what becomes of its path meanwhile leads nobody elsewhere. */
export interface HeldDirectory {
  at: string;
  handle: number;
  release(): void;
}

/** Opens a directory by its real path. @throws Failure where a link, or something else, has taken a place in it */
export function hold(directory: string): HeldDirectory {
  const flags = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;
  let handle: number;
  try {
    handle = openSync(directory, flags);
  } catch (error) {
    if (!lstatSync(directory, { throwIfNoEntry: false })?.isSymbolicLink()) throw error;
    throw led(directory, error);
  }
  const at = pathOf(handle, directory);
  let open = true;
  const release = () => {
    if (open) closeSync(handle);
    open = false;
  };
  if (at === directory || readlinkSync(`/proc/self/fd/${handle}`) === directory)
    return { at, handle, release };
  release();
  throw led(directory);
}

const led = (directory: string, cause?: unknown) =>
  new Failure(`${directory} leads elsewhere by a symbolic link: not followed`, {
    next: `see who changed it while this ran: ls -ld ${directory}`,
    cause,
  });

/** Does something in a directory that is held open meanwhile. */
function holding<T>(directory: string, act: (held: HeldDirectory) => T): T {
  const held = hold(directory);
  try {
    return act(held);
  } finally {
    held.release();
  }
}

/** The names in a directory that are its data. */
export function namesOf(directory: string): BytePath[] {
  return readdirSync(directory, 'latin1').filter((name) => !isForeign(name));
}

export function isThere(path: BytePath): boolean {
  return lstatSync(toBytes(path), { throwIfNoEntry: false }) !== undefined;
}

/** An app may write a file while its directory is being swapped. */
function freeName(path: BytePath, n = 1): BytePath {
  const candidate = `${path}.written-during-restore${n === 1 ? '' : `-${n}`}`;
  return isThere(candidate) ? freeName(path, n + 1) : candidate;
}

/** A directory of the attributes that are restored or put back later. */
export function ensureDirectory(path: string): void {
  mkdirSync(path, { recursive: true, mode: 0o700 });
}

export function attributesOf(directory: string): Attributes {
  const { mode, uid, gid, mtimeMs } = lstatSync(directory);
  return { mode: mode & 0o7777, uid, gid, mtime: Math.round(mtimeMs * 1000) };
}

export function setAttributes(directory: string, { mode, uid, gid, mtime }: Attributes): void {
  holding(directory, ({ handle }) => {
    if (process.getuid?.() === 0) fchownSync(handle, uid, gid);
    fchmodSync(handle, mode);
    futimesSync(handle, mtime / 1e6, mtime / 1e6);
  });
}

/** Removes a directory if nothing is left in it. */
export function removeEmpty(directory: string): void {
  try {
    rmdirSync(directory);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (!['ENOTEMPTY', 'ENOENT', 'EEXIST', 'EBUSY'].includes(code ?? '')) throw error;
  }
}

const BLOCK = 65_536;
const ZEROS = Buffer.alloc(BLOCK);
/** Zeros shorter than a disk's block leave no hole. */
const HOLE = 4_096;

const isRoot = process.getuid?.() === 0;

const CREATE = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL;

/** Makes a file of `content`, with the attributes of `entry`: at once, which for a small one is several times faster. */
export function writeSmall(full: BytePath, entry: FileEntry, content: Uint8Array): void {
  const file = openSync(toBytes(full), CREATE, 0o600);
  try {
    for (let at = 0; at < content.byteLength; ) at += writeSync(file, content, at);
    if (isRoot) fchownSync(file, entry.uid, entry.gid);
    fchmodSync(file, entry.mode);
    futimesSync(file, entry.mtime / 1e6, entry.mtime / 1e6);
  } finally {
    closeSync(file);
  }
}

/** Makes a file of what flows, with the attributes of `entry`; zeros become holes. */
export async function writeLarge(full: BytePath, entry: FileEntry, flow: Flow): Promise<void> {
  const handle = await open(toBytes(full), CREATE, 0o600);
  try {
    let at = 0;
    for await (const chunk of flow) {
      await writeSparse(handle, chunk, at);
      at += chunk.byteLength;
    }
    await handle.truncate(at);
    // Owner before mode: a change of owner clears the set-user-id bit.
    if (isRoot) await handle.chown(entry.uid, entry.gid);
    await handle.chmod(entry.mode);
    await handle.utimes(entry.mtime / 1e6, entry.mtime / 1e6);
  } finally {
    await handle.close();
  }
}

/** Writes into a new file at `position`; zeros become a hole, for which the file has to be truncated at its end. */
export async function writeSparse(handle: FileHandle, chunk: Uint8Array, position: number): Promise<void> {
  let start = 0;
  for (let at = 0; at < chunk.byteLength; ) {
    const length = Math.min(BLOCK - ((position + at) % BLOCK), chunk.byteLength - at);
    if (length >= HOLE && ZEROS.subarray(0, length).equals(chunk.subarray(at, at + length))) {
      await writeAll(handle, chunk.subarray(start, at), position + start);
      start = at + length;
    }
    at += length;
  }
  await writeAll(handle, chunk.subarray(start), position + start);
}

async function writeAll(handle: FileHandle, chunk: Uint8Array, position: number): Promise<void> {
  for (let at = 0; at < chunk.byteLength; ) {
    at += (await handle.write(chunk, at, chunk.byteLength - at, position + at)).bytesWritten;
  }
}

/** Makes a directory that can be written to; {@link finish} gives it its own attributes. */
export async function makeDirectory(full: BytePath): Promise<void> {
  await mkdir(toBytes(full), { mode: 0o700 });
}

export async function makeSymlink(full: BytePath, entry: Entry & { type: 'symlink' }): Promise<void> {
  await symlink(toBytes(entry.target), toBytes(full));
  await setOwner(full, entry);
  await lutimes(toBytes(full), entry.mtime / 1e6, entry.mtime / 1e6);
}

/** Gives a directory its owner, mode and time, when all that is in it is there. */
export async function finish(
  full: BytePath,
  entry: Pick<Entry, 'mode' | 'uid' | 'gid' | 'mtime'>,
): Promise<void> {
  await setOwner(full, entry);
  await chmod(toBytes(full), entry.mode);
  await lutimes(toBytes(full), entry.mtime / 1e6, entry.mtime / 1e6);
}

/** Only root may give files away. */
async function setOwner(full: BytePath, { uid, gid }: { uid: number; gid: number }): Promise<void> {
  if (isRoot) await lchown(toBytes(full), uid, gid);
}
