import {
  existsSync,
  fchmodSync,
  fchownSync,
  fstatSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  type Stats,
} from 'node:fs';
import { basename, dirname } from 'node:path';
import { checkAll, EXIT, Failure, messageOf } from '../failure.ts';
import { bytes, count } from '../format.ts';
import type { Step } from '../output.ts';
import { forEach } from '../pool.ts';
import { cmd } from '../shell.ts';
import { type BytePath, below, fromText, shown, some } from './addresses.ts';
import { contentKey } from './contents.ts';
import { type Exchange, putBack, readExchange, settle, swapIn, undoExchange } from './exchange.ts';
import { readTree, suffixOfPart } from './lists.ts';
import type { DirectoryPart, Recovery, Restored, Restorer } from './manifest.ts';
import {
  attributesOf,
  finish,
  type HeldDirectory,
  hold,
  makeDirectory,
  makeSymlink,
  namesOf,
  writeLarge,
  writeSmall,
} from './swap.ts';
import { contentFlow, enoughSpace, fetchWhole } from './transfer.ts';
import { type Entry, type FileEntry, parseEntries } from './tree.ts';
import {
  checkPlaces,
  clearLeftovers,
  microseconds,
  nearest,
  type Places,
  placesOf,
  readLink,
  realPath,
  removeTree,
  walk,
} from './walk.ts';

/** So many differences are told one by one. */
const TOLD = 20;

/** How `directory` differs from what a tree lists: names, types, sizes, modes, times, and owners where root made it. */
async function differences(
  directory: string,
  entries: readonly Entry[],
  signal: AbortSignal,
): Promise<string[]> {
  const root = fromText(directory);
  const wanted = new Map<BytePath, Entry>(entries.map((entry) => [entry.path, entry]));
  const found: string[] = [];
  await walk(root, { signal }, (path, stats) => {
    const entry = wanted.get(path);
    wanted.delete(path);
    const unlike = entry ? unlikeIn(entry, stats, below(root, path)) : ['is not in the backup'];
    if (unlike.length > 0) found.push(`${shown(path || '.')}: ${unlike.join(', ')}`);
  });
  for (const path of wanted.keys()) found.push(`${shown(path || '.')}: is missing`);
  const more = found.length - TOLD;
  return more > 0 ? [...found.slice(0, TOLD), `and ${more} more`] : found;
}

function unlikeIn(entry: Entry, stats: Stats, full: BytePath): string[] {
  const type = typeOf(stats);
  if (type !== entry.type) return [`is a ${type}, not a ${entry.type}`];
  const attributes: Array<[string, unknown, unknown]> = [['mtime', microseconds(stats), entry.mtime]];
  if (entry.type !== 'symlink') attributes.push(['mode', octal(stats.mode & 0o7777), octal(entry.mode)]);
  if (entry.type === 'file') attributes.push(['size', stats.size, entry.size]);
  if (entry.type === 'symlink') attributes.push(['target', shown(readLink(full)), shown(entry.target)]);
  if (process.getuid?.() === 0)
    attributes.push(['owner', stats.uid, entry.uid], ['group', stats.gid, entry.gid]);
  return attributes.flatMap(([name, is, was]) => (is === was ? [] : [`${name} is ${is}, was ${was}`]));
}

function typeOf(stats: Stats): string {
  if (stats.isFile()) return 'file';
  if (stats.isDirectory()) return 'directory';
  return stats.isSymbolicLink() ? 'symlink' : 'special file';
}

const octal = (mode: number) => mode.toString(8).padStart(4, '0');

/** Files up to this size are held in memory and written at once. */
const SMALL = 1e6;

/** Who runs such a file does so with its owner's, or its group's, rights. */
const SETUID = 0o6000;

type Access = Pick<Recovery, 'id' | 'store' | 'decrypter' | 'signal' | 'report' | 'host' | 'allowSetuid'>;

/** The entries that a part lists, its own directory first; from the store, so that a drill proves that it is there. */
async function entriesOfPart(
  part: DirectoryPart,
  { id, store, decrypter, report, allowSetuid }: Access,
): Promise<Entry[]> {
  const entries = [...parseEntries(await readTree(part, { store, decrypter }), { ...part, backup: id })];
  const setuid = entries.filter(({ type, mode }) => type === 'file' && (mode & SETUID) !== 0);
  if (setuid.length === 0 || allowSetuid) return entries;
  // Whoever can write to the store could hand out root's rights by one.
  report.warn(
    `${part.name}: restored without the setuid and setgid bits that they had (--allow-setuid keeps them): ` +
      some(setuid.map(({ path }) => shown(path))),
  );
  for (const entry of setuid) entry.mode &= ~SETUID;
  return entries;
}

/**
 * Makes everything that `part` lists in `directory`, which must be there and empty; its own attributes stay. Each file's SHA-256 is checked.
 * @throws Failure naming part, file and key when a content is missing or not what it was
 */
async function rebuild(
  part: DirectoryPart,
  entries: readonly Entry[],
  directory: string,
  access: Access,
  step: Step,
): Promise<void> {
  const root = fromText(directory);
  const files = entries.filter((entry) => entry.type === 'file');
  const directories = entries.filter((entry) => entry.type === 'directory');
  for (const { path } of directories) if (path !== '') await makeDirectory(below(root, path));
  for (const entry of entries)
    if (entry.type === 'symlink') await makeSymlink(below(root, entry.path), entry);
  let done = 0;
  await forEach(files, {
    signal: access.signal,
    weigh: ({ size }) => Math.min(size, SMALL),
    act: async (file) => {
      await rebuildFile(part, file, below(root, file.path), access);
      done += 1;
      step.progress({ done, total: files.length, unit: 'files' });
    },
  });
  for (const entry of directories.reverse())
    if (entry.path !== '') await finish(below(root, entry.path), entry);
  warnOfOwners(part, entries, access);
}

async function rebuildFile(
  part: DirectoryPart,
  file: FileEntry,
  full: BytePath,
  access: Access,
): Promise<void> {
  const { sha256, size } = file;
  const key = contentKey(sha256, suffixOfPart(part));
  const wanted = { key, measure: { sha256, bytes: size }, label: `${part.name}: ${shown(file.path)}` };
  try {
    if (size > SMALL) await writeLarge(full, file, contentFlow(access, wanted));
    else writeSmall(full, file, await fetchWhole(access, wanted));
  } catch (error) {
    throw unwritten(wanted.label, error);
  }
}

/** Says of which file the disk refused something; what the store threw is left as it is. */
function unwritten(label: string, error: unknown): unknown {
  const { code, syscall = '' } = error as NodeJS.ErrnoException;
  if (!/^(open|write|ftruncate|fchown|fchmod|futime|close)$/.test(syscall)) return error;
  return new Failure(`${label} cannot be written: ${messageOf(error)}`, {
    next:
      code === 'ENOSPC' || code === 'EDQUOT'
        ? 'free space on the disk'
        : 'check the disk and its permissions',
    cause: error,
  });
}

function warnOfOwners({ name }: DirectoryPart, entries: readonly Entry[], { report }: Access): void {
  const user = process.getuid?.();
  if (user === 0) return;
  const others = entries.filter(({ uid }) => uid !== user).length;
  if (others === 0) return;
  report.warn(
    `${name}: ${count(others, 'file')} of other owners belong to user ${user} now: only root can give them back`,
  );
}

/** Brings a directory back: beside the live one, then its files into it by rename. */
export function directoryRestorer(part: DirectoryPart, directory: string, recovery: Recovery): Restorer {
  const { name } = part;
  const { id, signal, stateDir } = recovery;
  return {
    part,
    plan: [
      `restore ${count(part.files, 'file')} (${bytes(part.bytesIn)}) to ${placesOf(directory).beside(id)}`,
      `move what is in ${directory} to ${placesOf(directory).before(id)}, and the restored files into it`,
    ],
    async prepare() {
      const places = placesOf(directory);
      await checkAll([
        () => checkPlaces(places, name),
        () => enoughSpace(nearest(places.live), part.bytesIn, `${name} of backup ${id}`),
      ]);
    },
    async restoreBeside(step) {
      const places = placesOf(directory);
      settle(stateDir, name, directory);
      await clearLeftovers(places);
      const beside = places.beside(id);
      const { staged, entries } = await restoreTo(part, beside, recovery, step);
      return {
        place: beside,
        // Until the swap it is ours alone, as it was made.
        compare: () => differences(staged.at, [asItIs(staged.at), ...entries.slice(1)], signal),
        discard: () => discard(beside, staged),
        ...swapping(part, places, staged, entries, recovery),
      };
    },
  };
}

function swapping(
  { name }: DirectoryPart,
  places: Places,
  staged: HeldDirectory,
  [root]: readonly Entry[],
  { id, stateDir }: Recovery,
): Pick<Restored, 'swapIn' | 'swapBack'> {
  // What is on disk since may be of whoever owns the folder.
  let swapped: Omit<Exchange, 'phase'> | undefined;
  return {
    async swapIn() {
      const { live, exists } = places;
      const beside = places.beside(id);
      const becomes = root ?? attributesOf(beside);
      const before = places.before(id);
      const was = exists ? attributesOf(live) : becomes;
      const incoming = namesOf(beside);
      const exchange = { part: name, id, live, created: !exists, beside, before, incoming, was, becomes };
      swapIn(stateDir, exchange);
      swapped = exchange;
      staged.release();
      return exists ? before : '';
    },
    async swapBack() {
      if (swapped) putBack(stateDir, swapped);
    },
  };
}

/** A part that is restored somewhere else than to its live place. */
export interface Copier {
  readonly part: Restorer['part'];
  prepare(): Promise<void>;
  readonly plan: Restorer['plan'];
  restore(step: Step): Promise<Copy>;
}

type Copy = Pick<Restored, 'place' | 'compare' | 'discard'>;

/** Brings a directory back to another one, which must be empty or absent. */
export function directoryCopier(part: DirectoryPart, target: string, recovery: Recovery): Copier {
  return {
    part,
    plan: [`restore ${count(part.files, 'file')} (${bytes(part.bytesIn)}) to ${target}`],
    async prepare() {
      await checkAll([
        () => checkEmpty(target, part.name),
        () => checkPlaces(placesOf(target), part.name),
        () => enoughSpace(nearest(target), part.bytesIn, `${part.name} of backup ${recovery.id}`),
      ]);
    },
    async restore(step) {
      const { staged, entries } = await restoreTo(part, target, recovery, step);
      const [root] = entries;
      if (root) await finish(fromText(staged.at), root);
      return {
        place: target,
        compare: () => differences(staged.at, entries, recovery.signal),
        discard: () => discard(target, staged),
      };
    },
  };
}

function checkEmpty(target: string, part: string): void {
  const { exists, live } = placesOf(target);
  if (!exists || readdirSync(live).length === 0) return;
  throw new Failure(`${part}: ${target} is not empty`, {
    exit: EXIT.usage,
    next: 'name a directory that is not there; what a cut-off restore left there can be removed',
  });
}

/** The entry of a directory as it is now. */
function asItIs(at: string): Entry {
  const stats = lstatSync(at);
  const { mode, uid, gid } = stats;
  return { type: 'directory', path: '', mode: mode & 0o7777, uid, gid, mtime: microseconds(stats) };
}

/** Makes a folder that whoever uses the one above can use: the app, for which root restores, has to get through it. */
function makeFolder(folder: string): void {
  if (existsSync(folder)) return;
  makeFolder(dirname(folder));
  const above = hold(realPath(dirname(folder)));
  try {
    mkdirSync(`${above.at}/${basename(folder)}`, { mode: 0o700 });
    const { uid, gid, mode } = fstatSync(above.handle);
    const made = hold(realPath(folder));
    if (process.getuid?.() === 0) fchownSync(made.handle, uid, gid);
    fchmodSync(made.handle, mode & 0o755);
    made.release();
  } finally {
    above.release();
  }
}

/** A directory that nobody else may write to, held open: who owns the one above could put another in its place. */
function stage(directory: string): HeldDirectory {
  makeFolder(dirname(directory));
  if (!existsSync(directory)) mkdirSync(directory, { mode: 0o700 });
  const staged = hold(realPath(directory));
  if (process.getuid?.() === 0) fchownSync(staged.handle, 0, 0);
  fchmodSync(staged.handle, 0o700);
  if (readdirSync(staged.at).length === 0) return staged;
  throw new Failure(`${directory} was filled by another while this ran`, {
    next: 'see who did, and run it again',
  });
}

function discard(directory: string, staged: HeldDirectory): Promise<void> {
  staged.release();
  return removeTree(directory);
}

/** Fills a directory of ours, or leaves none. It is finished when it gets the attributes of its first entry. */
async function restoreTo(
  part: DirectoryPart,
  directory: string,
  recovery: Recovery,
  step: Step,
): Promise<{ staged: HeldDirectory; entries: Entry[] }> {
  const entries = await entriesOfPart(part, recovery);
  const staged = stage(directory);
  try {
    await rebuild(part, entries, staged.at, recovery, step);
    // One sync of the file system instead of an fsync for each of many small files.
    await recovery.host.run(cmd`sync -f ${directory}`);
  } catch (error) {
    // The failure to report is the first one; what is left of it is cleared by the next restore.
    await discard(directory, staged).catch(() => {});
    throw error;
  }
  step.note(`${count(part.files, 'file')}, ${bytes(part.bytesIn)}`);
  return { staged, entries };
}

/**
 * Puts back what was in the directory before the last restore on this host.
 * @returns the backup that had been restored, and where what it had brought is kept
 */
export function undoDirectory(
  part: string,
  stateDir: string,
  directory: string,
): { id: string; kept: string } {
  const id = readExchange(stateDir, part)?.id ?? '';
  return { id, kept: undoExchange(stateDir, part, directory, (of) => placesOf(directory).undone(of)) };
}
