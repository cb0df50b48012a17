import {
  accessSync,
  chmodSync,
  closeSync,
  constants,
  existsSync,
  fchmodSync,
  fchownSync,
  futimesSync,
  lstatSync,
  openSync,
  readdirSync,
  readlinkSync,
  rmSync,
  type Stats,
  statSync,
} from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { EXIT, Failure } from '../failure.ts';
import { pathOf } from '../state.ts';
import { type BytePath, below, fromText, isForeign, toBytes } from './addresses.ts';

interface Walk {
  /** Full paths that are passed over. */
  skip?: readonly BytePath[];
  signal?: AbortSignal;
  /** Is called with each path that may not be read; without it, the walk fails there. */
  onRefused?: (path: BytePath) => void;
}

/** So many entries are looked at before signals, timers and the network have their turn. */
const AT_ONCE = 5_000;

/**
 * Visits everything below `root`, and `root` itself, in no order; symlinks are not followed, mounts are entered. What
 * vanishes meanwhile is left out. The calls are synchronous: for a walk that is several times faster.
 */
export async function walk(
  root: BytePath,
  options: Walk,
  visit: (path: BytePath, stats: Stats) => void,
): Promise<void> {
  visit('', lstatSync(toBytes(`${root}/.`)));
  const folders: BytePath[] = [''];
  let unpaused = 0;
  for (let folder = folders.pop(); folder !== undefined; folder = folders.pop()) {
    for (const [path, stats] of entriesIn(root, folder, options)) {
      unpaused += 1;
      if (stats.isDirectory()) folders.push(path);
      visit(path, stats);
    }
    if (unpaused < AT_ONCE) continue;
    unpaused = 0;
    options.signal?.throwIfAborted();
    await setImmediate();
  }
}

function* entriesIn(
  root: BytePath,
  folder: BytePath,
  { skip = [], onRefused }: Walk,
): Generator<[BytePath, Stats]> {
  const look = <T>(path: BytePath, act: (full: Buffer) => T): T | undefined => {
    try {
      return act(toBytes(below(root, path)));
    } catch (error) {
      if (isGone(error)) return undefined;
      if (!isRefusal(error) || !onRefused) throw error;
      onRefused(path);
      return undefined;
    }
  };
  for (const name of look(folder, (full) => readdirSync(full, 'latin1')) ?? []) {
    const path = folder === '' ? name : `${folder}/${name}`;
    if ((folder === '' && isForeign(name)) || skip.includes(below(root, path))) continue;
    const stats = look(path, (full) => lstatSync(full, { throwIfNoEntry: false }));
    if (stats) yield [path, stats];
  }
}

const hasCode = (error: unknown, codes: readonly string[]): boolean =>
  codes.includes((error as NodeJS.ErrnoException).code ?? '');

/** Whether it vanished, or became something else, since it was seen. */
export const isGone = (error: unknown): boolean =>
  hasCode(error, ['ENOENT', 'ENOTDIR', 'EINVAL', 'ELOOP', 'ENXIO']);

/** Whether this user may not do it. */
export const isRefusal = (error: unknown): boolean => hasCode(error, ['EACCES', 'EPERM']);

/** Whether this user may read the file. */
export function isReadable(full: BytePath): boolean {
  try {
    accessSync(toBytes(full), constants.R_OK);
    return true;
  } catch (error) {
    return !isRefusal(error);
  }
}

/** Whether there is something at the path, be it a link that leads nowhere. */
export const isThere = (path: BytePath): boolean =>
  lstatSync(toBytes(path), { throwIfNoEntry: false }) !== undefined;

export const readLink = (full: BytePath): BytePath => readlinkSync(toBytes(full), 'latin1');

/** What changes when the file is written: the mtime can be set back by whoever writes, the ctime cannot. */
export const stampOf = ({ size, mtimeMs, ctimeMs, ino }: Stats): string =>
  `${size}:${mtimeMs}:${ctimeMs}:${ino}`;

/** What a restore gives back to a file or directory. */
export interface Attributes {
  mode: number;
  uid: number;
  gid: number;
  /** Microseconds since 1970: as precise as a double of milliseconds is, and as utimes can set it. */
  mtime: number;
}

export const attributesOf = ({ mode, uid, gid, mtimeMs }: Stats): Attributes => ({
  mode: mode & 0o7777,
  uid,
  gid,
  mtime: Math.round(mtimeMs * 1000),
});

export const isRoot = process.getuid?.() === 0;

/** Gives an open file or directory its attributes; its owner only for root, as nobody else may give files away. */
export function setAttributes(handle: number, { mode, uid, gid, mtime }: Attributes): void {
  // Owner before mode: a change of owner clears the set-user-id bit.
  if (isRoot) fchownSync(handle, uid, gid);
  fchmodSync(handle, mode);
  futimesSync(handle, mtime / 1e6, mtime / 1e6);
}

/**
 * The path behind links. Root does not follow a link of one user to what belongs to another: whoever owns APP_DIR could
 * have any directory emptied.
 * @throws Failure that names the link
 */
export function realPath(path: string): string {
  const parent = dirname(path);
  if (parent === path) return path;
  const here = join(realPath(parent), basename(path));
  const link = lstatSync(here, { throwIfNoEntry: false });
  if (!link?.isSymbolicLink()) return here;
  // This throws ELOOP for links in a circle.
  const owner = statSync(here, { throwIfNoEntry: false })?.uid;
  const target = realPath(resolve(dirname(here), readlinkSync(here)));
  if (!isRoot || link.uid === 0 || link.uid === owner) return target;
  throw new Failure(`${here} is a symbolic link of user ${link.uid} to ${target}: not followed`, {
    exit: EXIT.usage,
    next: `name ${target} itself, or make the link root's: chown -h root ${here}`,
  });
}

/** The path itself, or the nearest above it that exists. */
export const nearest = (path: string): string => (existsSync(path) ? path : nearest(dirname(path)));

/** A directory that is held open: whatever becomes of its path, `at` is a path of this directory. */
export interface HeldDirectory extends Disposable {
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
    throw elsewhere(directory, error);
  }
  const at = pathOf(handle, directory);
  let open = true;
  const release = () => {
    if (open) closeSync(handle);
    open = false;
  };
  if (at === directory || readlinkSync(`/proc/self/fd/${handle}`) === directory)
    return { at, handle, release, [Symbol.dispose]: release };
  release();
  throw elsewhere(directory);
}

/** The refusal of a directory that is not the one that was meant. */
export const elsewhere = (directory: string, cause?: unknown): Failure =>
  new Failure(`${directory} leads elsewhere through a symbolic link: not followed`, {
    next: `find out who changed it meanwhile: ls -ld ${directory}`,
    cause,
  });

/** Removes a directory that we made, and directories in it that have no write permission. */
export async function removeTree(directory: string): Promise<void> {
  if (!existsSync(directory)) return;
  try {
    rmSync(directory, { recursive: true });
  } catch {
    const root = fromText(directory);
    await walk(root, {}, (path, stats) => {
      if (stats.isDirectory()) chmodSync(toBytes(below(root, path)), 0o700);
    });
    rmSync(directory, { recursive: true });
  }
}

const BLOCK = 65_536;
const ZEROS = Buffer.alloc(BLOCK);
/** Zeros shorter than a disk's block leave no hole. */
const HOLE = 4_096;

/** Writes into a new file at `position`; zeros become a hole, for which the file has to be truncated at its end. */
export async function writeSparse(file: FileHandle, chunk: Uint8Array, position: number): Promise<void> {
  let start = 0;
  for (let at = 0; at < chunk.byteLength; ) {
    const length = Math.min(BLOCK - ((position + at) % BLOCK), chunk.byteLength - at);
    if (length >= HOLE && ZEROS.subarray(0, length).equals(chunk.subarray(at, at + length))) {
      await writeAll(file, chunk.subarray(start, at), position + start);
      start = at + length;
    }
    at += length;
  }
  await writeAll(file, chunk.subarray(start), position + start);
}

async function writeAll(file: FileHandle, chunk: Uint8Array, position: number): Promise<void> {
  for (let at = 0; at < chunk.byteLength; ) {
    at += (await file.write(chunk, at, chunk.byteLength - at, position + at)).bytesWritten;
  }
}
