import {
  accessSync,
  constants,
  existsSync,
  fstatSync,
  fsyncSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  statSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { z } from 'zod';
import { EXIT, Failure, messageOf } from '../failure.ts';
import { type BytePath, below, fromText, isForeign, toBytes } from './addresses.ts';
import {
  type Attributes,
  attributesOf,
  elsewhere,
  hold,
  isThere,
  nearest,
  realPath,
  removeTree,
  setAttributes,
} from './file-system.ts';
import { backupId, Journals } from './journal.ts';
import type { Work } from './manifest.ts';

const natural = z.int().nonnegative();
const attributes = z.object({ mode: natural.max(0o7777), uid: natural, gid: natural, mtime: z.int() });
const swapSchema = z.object({
  part: z.string(),
  /** The backup whose files come in. */
  id: backupId,
  live: z.string(),
  /** The directory was not there. */
  created: z.boolean(),
  beside: z.string(),
  before: z.string(),
  /** Names, not paths. */
  incoming: z.array(z.string().regex(/^(?!\.{1,2}$)[^/\0]+$/, 'is not a name')),
  was: attributes,
  becomes: attributes,
  phase: z.enum(['out', 'in', 'done', 'undo-out', 'undo-in']),
  /** Where an undo puts what was restored. */
  undone: z.string().optional(),
});

/** One swap of a directory's contents: the directory itself stays, because containers have it mounted. */
type Swap = z.infer<typeof swapSchema>;
/** What is swapped, and where it goes. */
export type Swapped = Omit<Swap, 'phase'>;

const journal = new Journals('swapped', swapSchema);

/**
 * Refuses to back up a directory of which a swap that was cut off left some files in another one.
 * @throws Failure
 */
export const refuseHalfSwapped = (work: Work, part: string): void =>
  journal.refuseCutOff(work, part, ({ live }) => `moved files in ${live}`);

/** Renames, or stands in for that in a test. */
type Rename = (from: Buffer, to: Buffer) => void;

/**
 * Moves what is in the live directory out and what was restored in.
 * @throws Failure when a rename is refused; then everything is where it was
 */
export function swapIn(stateDir: string, swap: Swapped, rename: Rename = renameSync): void {
  const { live, beside, before, incoming, was, becomes } = swap;
  journal.write(stateDir, { ...swap, phase: 'out' });
  try {
    ensureDirectory(live);
    ensureDirectory(before);
    moveAll(live, before, namesOf(live), rename);
    giveAttributes(before, was);
    journal.write(stateDir, { ...swap, phase: 'in' });
    moveAll(beside, live, incoming, rename, { ours: true });
    giveAttributes(live, becomes);
    journal.write(stateDir, { ...swap, phase: 'done' });
  } catch (error) {
    putBack(stateDir, swap, rename);
    throw new Failure(`${swap.part}: ${live} could not be swapped (${messageOf(error)}); it is as it was`, {
      next: 'run it as root, or restore with --to another directory',
      cause: error,
    });
  }
  removeEmpty(beside);
  if (swap.created) removeEmpty(before);
}

/** Puts everything where it was before the swap, however far that had come. */
export function putBack(stateDir: string, swap: Swapped, rename: Rename = renameSync): void {
  const { live, beside, incoming } = swap;
  const isIn = (directory: string, name: BytePath) => isThere(below(fromText(directory), name));
  const cameIn = incoming.filter((name) => !isIn(beside, name) && isIn(live, name));
  if (cameIn.length > 0) {
    ensureDirectory(beside);
    moveAll(live, beside, cameIn, rename);
  }
  putOldBack(stateDir, swap, rename);
}

/** Moves what was kept into the live directory, which is empty, and ends the journal. */
function putOldBack(stateDir: string, { part, live, before, was, created }: Swapped, rename: Rename): void {
  if (isThere(fromText(before))) moveAll(before, live, namesOf(before), rename);
  removeEmpty(before);
  if (created) removeEmpty(live);
  else giveAttributes(live, was);
  journal.remove(stateDir, part);
}

/**
 * Ends a swap or an undo that was cut off: a swap is put back, an undo is finished.
 * @throws Failure for the journal of another directory, a finished one too: its undo would be lost
 */
export function settleSwap(stateDir: string, part: string, directory: string): void {
  const swap = journal.last(stateDir, part);
  if (!swap) return;
  refuseForeign(stateDir, swap, directory);
  if (swap.phase === 'done') return;
  if (swap.phase.startsWith('undo')) finishUndo(stateDir, swap);
  else putBack(stateDir, swap);
}

/**
 * Puts back what was in the directory before the last restore on this host.
 * @returns the backup that had been restored, and where what was restored is kept
 */
export function undoDirectory(
  part: string,
  stateDir: string,
  directory: string,
  rename: Rename = renameSync,
): { id: string; kept: string } {
  const swap = journal.toUndo(stateDir, part);
  refuseForeign(stateDir, swap, directory);
  const { id, phase } = swap;
  const undone = swap.undone ?? swapPaths(directory).undone(id);
  if (phase === 'out' || phase === 'in') {
    putBack(stateDir, swap, rename);
    rename(Buffer.from(swap.beside), Buffer.from(undone));
  } else {
    const started: Swap =
      phase === 'done' ? journal.write(stateDir, { ...swap, undone, phase: 'undo-out' }) : swap;
    finishUndo(stateDir, started, rename);
  }
  return { id, kept: undone };
}

function finishUndo(stateDir: string, swap: Swap, rename: Rename = renameSync): void {
  const { live, undone = '' } = swap;
  if (swap.phase === 'undo-out') {
    ensureDirectory(undone);
    const attributes = attributesOf(lstatSync(live));
    moveAll(live, undone, namesOf(live), rename);
    giveAttributes(undone, attributes);
    journal.write(stateDir, { ...swap, phase: 'undo-in' });
  }
  putOldBack(stateDir, swap, rename);
}

/** @throws Failure where the paths of a journal are not those that a restore of `directory` has */
function refuseForeign(stateDir: string, swap: Swap, directory: string): void {
  const { part, id, live, beside, before, undone } = swap;
  const isOurs = (path: string, outer: string, inner: string) =>
    [`${live}${outer}${id}`, `${live}/.opsbook-${inner}-${id}`].includes(
      path.replace(/_[2-9]\d*$|_1\d+$/, ''),
    );
  const checks = {
    live: live === realPath(directory),
    beside: isOurs(beside, '.restoring-', 'restoring'),
    before: isOurs(before, '_before_', 'before'),
    undone: undone === undefined || isOurs(undone, '_undone_', 'undone'),
  };
  const [wrong] = Object.entries(checks).find(([, right]) => !right) ?? [];
  if (wrong) throw journal.refused(stateDir, part, `${wrong}: is not that of ${directory}`);
}

/**
 * Moves by rename all that is in a directory, which has to be `ours` where it was made by this script; what occupies a
 * name at the other side is renamed there, never lost.
 */
function moveAll(
  from: string,
  to: string,
  names: readonly BytePath[],
  rename: Rename,
  { ours = false } = {},
): void {
  using source = hold(from);
  using destination = hold(to);
  if (ours && fstatSync(source.handle).uid !== process.geteuid?.()) throw elsewhere(from);
  for (const name of names) {
    const target = below(fromText(destination.at), name);
    if (isThere(target)) rename(toBytes(target), toBytes(freeName(target)));
    rename(toBytes(below(fromText(source.at), name)), toBytes(target));
  }
  fsyncSync(source.handle);
  fsyncSync(destination.handle);
}

/** The names in a directory that are its data. */
export const namesOf = (directory: string): BytePath[] =>
  readdirSync(directory, 'latin1').filter((name) => !isForeign(name));

/** An app may write a file while its directory is being swapped. */
function freeName(path: BytePath, n = 1): BytePath {
  const candidate = `${path}.written-during-restore${n === 1 ? '' : `-${n}`}`;
  return isThere(candidate) ? freeName(path, n + 1) : candidate;
}

/** Makes a directory that gets its attributes later. */
function ensureDirectory(path: string): void {
  mkdirSync(path, { recursive: true, mode: 0o700 });
}

function giveAttributes(directory: string, attributes: Attributes): void {
  using held = hold(directory);
  setAttributes(held.handle, attributes);
}

/** Removes a directory if nothing is left in it. */
function removeEmpty(directory: string): void {
  try {
    rmdirSync(directory);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (!['ENOTEMPTY', 'ENOENT', 'EEXIST', 'EBUSY'].includes(code ?? '')) throw error;
  }
}

/** Where a directory is restored, and where the one that it replaces is kept. */
interface SwapPaths {
  /** The directory itself, behind symlinks. */
  live: string;
  exists: boolean;
  /** Of a backup's id. */
  beside(id: string): string;
  before(id: string): string;
  undone(id: string): string;
}

/**
 * The paths that a swap of a directory takes, so that everything can be moved by rename: beside the directory, or in a
 * hidden folder of it when it is a disk of its own or its parent is not ours.
 */
export function swapPaths(directory: string): SwapPaths {
  const exists = existsSync(directory);
  const live = realPath(directory);
  const parent = dirname(live);
  const inside = exists && (isMount(live) || !isWritable(parent));
  const path = (outer: string, inner: string) =>
    inside ? join(live, inner) : join(parent, basename(live) + outer);
  return {
    live,
    exists,
    beside: (id) => path(`.restoring-${id}`, `.opsbook-restoring-${id}`),
    before: (id) => unused(path(`_before_${id}`, `.opsbook-before-${id}`)),
    undone: (id) => unused(path(`_undone_${id}`, `.opsbook-undone-${id}`)),
  };
}

/** `path`, or with `_2`, `_3`… the first that is not taken. */
function unused(path: string, n = 1): string {
  const candidate = n === 1 ? path : `${path}_${n}`;
  return existsSync(candidate) ? unused(path, n + 1) : candidate;
}

/** Removes what a killed restore left beside the directory. */
export async function clearLeftovers({ live, beside }: SwapPaths): Promise<void> {
  const pattern = beside('');
  const folder = dirname(pattern);
  if (!existsSync(folder)) return;
  for (const name of readdirSync(folder)) {
    const path = join(folder, name);
    if (path !== live && path.startsWith(pattern) && /^\d{8}-\d{6}$/.test(path.slice(pattern.length)))
      await removeTree(path);
  }
}

/** @throws Failure when the directory cannot be swapped by rename, or cannot be written to */
export function checkSwappable({ live, exists }: SwapPaths, part: string): void {
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
  let lines: string[];
  try {
    lines = readFileSync('/proc/self/mountinfo', 'utf8').split('\n');
  } catch {
    return [];
  }
  return lines.map((line) =>
    (line.split(' ')[4] ?? '').replace(/\\([0-7]{3})/g, (_, octal) =>
      String.fromCharCode(Number.parseInt(octal, 8)),
    ),
  );
}
