import {
  accessSync,
  chmodSync,
  constants,
  existsSync,
  lstatSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  type Stats,
  statSync,
} from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { EXIT, Failure } from '../failure.ts';
import { type BytePath, below, fromText, isForeign, shown, some, toBytes } from './addresses.ts';
import type { Work } from './manifest.ts';

/** Hears of each entry. */
type Visit = (path: BytePath, stats: Stats) => void;

interface Walk {
  /** Full paths that are passed over. */
  skip?: readonly BytePath[];
  signal?: AbortSignal;
  /** Hears of what may not be read; without it that is thrown. */
  onRefused?: (path: BytePath) => void;
}

/** So many entries are looked at before signals, timers and the network have their turn. */
const AT_ONCE = 5_000;

/**
 * Shows everything below `root`, and `root` itself, in no order; symlinks are not followed, mounts are entered. What
 * vanishes meanwhile is left out. The calls are synchronous: for a walk that is several times faster.
 */
export async function walk(root: BytePath, options: Walk, visit: Visit): Promise<void> {
  visit('', lstatSync(toBytes(`${root}/.`)));
  const open: BytePath[] = [''];
  let unpaused = 0;
  for (let directory = open.pop(); directory !== undefined; directory = open.pop()) {
    const { onRefused } = options;
    const folder = directory;
    const names = looking(folder, () => namesIn(below(root, folder)), [], onRefused);
    for (const name of names) visitOne(root, folder, name, open, options, visit);
    unpaused += names.length;
    if (unpaused < AT_ONCE) continue;
    unpaused = 0;
    options.signal?.throwIfAborted();
    await setImmediate();
  }
}

function visitOne(
  root: BytePath,
  folder: BytePath,
  name: BytePath,
  open: BytePath[],
  { skip = [], onRefused }: Walk,
  visit: Visit,
): void {
  const path = folder === '' ? name : `${folder}/${name}`;
  const full = below(root, path);
  if ((folder === '' && isForeign(name)) || skip.includes(full)) return;
  const stats = looking(
    path,
    () => lstatSync(toBytes(full), { throwIfNoEntry: false }),
    undefined,
    onRefused,
  );
  if (!stats) return;
  if (stats.isDirectory()) open.push(path);
  visit(path, stats);
}

function looking<T>(path: BytePath, look: () => T, otherwise: T, onRefused: Walk['onRefused']): T {
  try {
    return look();
  } catch (error) {
    if (isGone(error)) return otherwise;
    if (!isRefusal(error) || !onRefused) throw error;
    onRefused(path);
    return otherwise;
  }
}

/** How a directory of this backup is walked. */
export function walkOf({ stateDir, appDir, signal }: Work): { skip: BytePath[]; signal: AbortSignal } {
  return { skip: [fromText(stateDir ?? `${appDir}/.opsbook`)], signal };
}

/** Whether it vanished, or became something else, since it was seen. */
export function isGone(error: unknown): boolean {
  return ['ENOENT', 'ENOTDIR', 'EINVAL', 'ELOOP', 'ENXIO'].includes(
    (error as NodeJS.ErrnoException).code ?? '',
  );
}

function isRefusal(error: unknown): boolean {
  return ['EACCES', 'EPERM'].includes((error as NodeJS.ErrnoException).code ?? '');
}

/** Whether this user may read the file. */
export function isReadable(full: BytePath): boolean {
  try {
    accessSync(toBytes(full), constants.R_OK);
    return true;
  } catch (error) {
    return !isRefusal(error);
  }
}

const namesIn = (full: BytePath): BytePath[] => readdirSync(toBytes(full), 'latin1');

export const readLink = (full: BytePath): BytePath => readlinkSync(toBytes(full), 'latin1');

/** Microseconds: as precise as a double of milliseconds is, and as utimes can set it. */
export const microseconds = (stats: Stats): number => Math.round(stats.mtimeMs * 1000);

/** What changes when the file is written: the mtime can be set back by whoever writes, the ctime cannot. */
export const stampOf = ({ size, mtimeMs, ctimeMs, ino }: Stats): string =>
  `${size}:${mtimeMs}:${ctimeMs}:${ino}`;

/** Where a directory is brought back, and where the one that it replaces is kept. */
export interface Places {
  /** The directory itself, behind symlinks. */
  live: string;
  exists: boolean;
  /** Of a backup's id. */
  beside(id: string): string;
  before(id: string): string;
  undone(id: string): string;
}

/**
 * Finds them so that everything can be moved by rename: beside the directory, or in a hidden folder of it when it
 * is a disk of its own or its parent is not ours.
 */
export function placesOf(directory: string): Places {
  const exists = existsSync(directory);
  const live = realPath(directory);
  const parent = dirname(live);
  const inside = exists && (isMount(live) || !isWritable(parent));
  const place = (outer: string, inner: string) =>
    inside ? join(live, inner) : join(parent, basename(live) + outer);
  return {
    live,
    exists,
    beside: (id) => place(`.restoring-${id}`, `.opsbook-restoring-${id}`),
    before: (id) => unused(place(`_before_${id}`, `.opsbook-before-${id}`)),
    undone: (id) => unused(place(`_undone_${id}`, `.opsbook-undone-${id}`)),
  };
}

/**
 * The path behind links. Root is not led by one that another made to what is not that one's: whoever owns APP_DIR could
 * have any directory emptied.
 * @throws Failure that names the link
 */
export function realPath(path: string): string {
  const parent = dirname(path);
  if (parent === path) return path;
  const here = join(realPath(parent), basename(path));
  const link = lstatSync(here, { throwIfNoEntry: false });
  if (!link?.isSymbolicLink()) return here;
  // Of links in a circle this says so.
  const owner = statSync(here, { throwIfNoEntry: false })?.uid;
  const target = realPath(resolve(dirname(here), readlinkSync(here)));
  if (process.getuid?.() !== 0 || link.uid === 0 || link.uid === owner) return target;
  throw new Failure(`${here} is a symbolic link of user ${link.uid} to ${target}: not followed`, {
    exit: EXIT.usage,
    next: `name ${target} itself, or make the link root's: chown -h root ${here}`,
  });
}

/** `path`, or with `_2`, `_3`… the first that is not taken. */
function unused(path: string, n = 1): string {
  const candidate = n === 1 ? path : `${path}_${n}`;
  return existsSync(candidate) ? unused(path, n + 1) : candidate;
}

/** Removes what a killed restore left beside the directory. */
export async function clearLeftovers({ live, beside }: Places): Promise<void> {
  const pattern = beside('');
  const folder = dirname(pattern);
  if (!existsSync(folder)) return;
  for (const name of readdirSync(folder)) {
    const path = join(folder, name);
    if (path !== live && path.startsWith(pattern) && /^\d{8}-\d{6}$/.test(path.slice(pattern.length))) {
      await removeTree(path);
    }
  }
}

/** Removes a directory that we made, with directories in it that have no write permission. */
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

/** @throws Failure when the directory cannot be swapped by rename, or its place cannot be written to */
export function checkPlaces({ live, exists }: Places, part: string): void {
  const mount = mounts().find((point) => point.startsWith(`${live}/`));
  if (exists && mount) {
    throw new Failure(`${part}: ${mount} is mounted in ${live}: what is mounted cannot be moved aside`, {
      next: `unmount it for the restore, or restore with --to another directory`,
    });
  }
  const needed = exists ? live : nearest(live);
  if (!statSync(needed).isDirectory()) {
    throw new Failure(`${part}: ${needed} is not a directory`, { exit: EXIT.usage, next: 'move it away' });
  }
  if (isWritable(needed)) return;
  throw new Failure(`${part}: ${needed} may not be written to by user ${process.getuid?.()}`, {
    next: 'run it as the owner or as root',
  });
}

/** The path itself, or the nearest above it that exists. */
export const nearest = (path: string): string => (existsSync(path) ? path : nearest(dirname(path)));

function isWritable(path: string): boolean {
  try {
    accessSync(path, constants.W_OK | constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** A rename into or out of a mount is refused, also where both are on one device. */
function isMount(path: string): boolean {
  return mounts().includes(path) || statSync(path).dev !== statSync(dirname(path)).dev;
}

/** Where something is mounted; empty where the system does not tell. */
function mounts(): string[] {
  try {
    return readFileSync('/proc/self/mountinfo', 'utf8')
      .split('\n')
      .map((line) => line.split(' ')[4] ?? '')
      .map((point) =>
        point.replace(/\\([0-7]{3})/g, (_, octal) => String.fromCharCode(Number.parseInt(octal, 8))),
      );
  } catch {
    return [];
  }
}

/** Names what may not be read. */
export function refusal(name: string, paths: readonly BytePath[]): Failure {
  const user = process.getuid?.();
  return new Failure(
    `${name}: ${paths.length} of its files and directories may not be read by user ${user}: ${some(paths.map((path) => shown(path || '.')))}`,
    { next: 'run it as their owner or as root, or let this user read them' },
  );
}

/** What a file system call threw about the directory as a whole. */
export function unreadable(name: string, directory: string, error: unknown): unknown {
  const { code, syscall } = error as NodeJS.ErrnoException;
  if (syscall === undefined) return error;
  if (code === 'ENOENT') {
    return new Failure(`${name}: ${directory} is not there`, {
      next: 'create or mount it, or correct BACKUP_DIRECTORIES',
      cause: error,
    });
  }
  if (code === 'ENOTDIR') {
    return new Failure(`${name}: ${directory} is not a directory`, {
      next: 'correct BACKUP_DIRECTORIES',
      cause: error,
    });
  }
  if (isRefusal(error)) return refusal(name, ['']);
  return new Failure(`${name}: ${directory} cannot be read (${code})`, {
    next: 'check the disk',
    cause: error,
  });
}
