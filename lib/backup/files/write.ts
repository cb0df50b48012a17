import { closeSync, constants, fchmodSync, fchownSync, futimesSync, openSync, writeSync } from 'node:fs';
import { chmod, type FileHandle, lchown, lutimes, mkdir, open, symlink } from 'node:fs/promises';
import type { Flow } from '../seal.ts';
import { type BytePath, toBytes } from './paths.ts';
import type { Entry, FileEntry } from './tree.ts';

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
