import { accessSync, constants, lstatSync, readdirSync, readlinkSync, type Stats } from 'node:fs';
import { setImmediate } from 'node:timers/promises';
import type { Work } from '../part.ts';
import { type BytePath, below, fromText, isForeign, toBytes } from './paths.ts';

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

export function isRefusal(error: unknown): boolean {
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
