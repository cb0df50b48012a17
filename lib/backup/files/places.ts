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
  statSync,
} from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { EXIT, Failure } from '../../failure.ts';
import { below, fromText, toBytes } from './paths.ts';
import { walk } from './walk.ts';

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
