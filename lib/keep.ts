import {
  chownSync,
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  renameSync,
  statSync,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';

/** Bytes that are gathered before they are written. */
const CHUNK = 1 << 20;

/**
 * Replaces a file of the state folder as a whole, for its owner alone; a power cut leaves the old one or the new
 * one. It belongs to the folder's owner, also when root writes it.
 */
export function writeWhole(file: string, parts: Iterable<string | Uint8Array>): void {
  const temporary = `${file}.new`;
  const handle = openSync(temporary, 'w', 0o600);
  try {
    for (const chunk of gathered(parts)) writeAll(handle, chunk);
    if (process.getuid?.() === 0) {
      const { uid, gid } = statSync(dirname(file));
      chownSync(temporary, uid, gid);
    }
    fsyncSync(handle);
  } finally {
    closeSync(handle);
  }
  renameSync(temporary, file);
  syncDirectory(dirname(file));
}

/** Makes renames in a directory survive a power cut. */
export function syncDirectory(directory: string | Buffer): void {
  const handle = openSync(directory, 'r');
  try {
    fsyncSync(handle);
  } finally {
    closeSync(handle);
  }
}

/** A folder in the state folder, owned as that is. */
export function folderIn(stateDir: string, name: string): string {
  const folder = `${stateDir}/${name}`;
  if (mkdirSync(folder, { recursive: true, mode: 0o700 }) && process.getuid?.() === 0) {
    const { uid, gid } = statSync(stateDir);
    chownSync(folder, uid, gid);
  }
  return folder;
}

/** The same bytes in chunks of a size that is worth a call. */
export function* gathered(parts: Iterable<string | Uint8Array>): Generator<Buffer> {
  let chunks: Uint8Array[] = [];
  let size = 0;
  for (const part of parts) {
    const bytes = typeof part === 'string' ? Buffer.from(part) : part;
    chunks.push(bytes);
    size += bytes.byteLength;
    if (size < CHUNK) continue;
    yield Buffer.concat(chunks);
    chunks = [];
    size = 0;
  }
  if (size > 0) yield Buffer.concat(chunks);
}

function writeAll(handle: number, chunk: Buffer): void {
  for (let at = 0; at < chunk.length; ) at += writeSync(handle, chunk, at);
}
