import {
  chmodSync,
  chownSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmdirSync,
  utimesSync,
} from 'node:fs';
import { syncDirectory } from '../../keep.ts';
import { type BytePath, below, fromText, isForeign, toBytes } from './paths.ts';

export interface Attributes {
  mode: number;
  uid: number;
  gid: number;
  /** Microseconds since 1970. */
  mtime: number;
}

export type Rename = (from: Buffer, to: Buffer) => void;

/** Moves by rename all that is in a directory; what occupies a name at the other side is renamed there, never lost. */
export function moveAll(
  from: string,
  to: string,
  names: readonly BytePath[],
  rename: Rename = renameSync,
): void {
  for (const name of names) {
    const target = below(fromText(to), name);
    if (isThere(target)) rename(toBytes(target), toBytes(freeName(target)));
    rename(toBytes(below(fromText(from), name)), toBytes(target));
  }
  syncDirectory(from);
  syncDirectory(to);
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
  if (process.getuid?.() === 0) chownSync(directory, uid, gid);
  chmodSync(directory, mode);
  utimesSync(directory, mtime / 1e6, mtime / 1e6);
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
