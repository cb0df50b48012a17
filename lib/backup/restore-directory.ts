import {
  closeSync,
  constants,
  existsSync,
  fchmodSync,
  fchownSync,
  fstatSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  type Stats,
  writeFileSync,
} from 'node:fs';
import { lchown, lutimes, mkdir, open, symlink } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { cmd } from '../command.ts';
import { checkAll, EXIT, Failure, messageOf } from '../failure.ts';
import { bytes, count } from '../format.ts';
import type { Step } from '../output.ts';
import { type BytePath, below, fromText, shown, some, toBytes } from './addresses.ts';
import type { Flow } from './encryption.ts';
import {
  type Attributes,
  attributesOf,
  type HeldDirectory,
  hold,
  isRoot,
  nearest,
  readLink,
  realPath,
  removeTree,
  setAttributes,
  walk,
  writeSparse,
} from './file-system.ts';
import type { DirectoryPart, Recovery, Restorer } from './manifest.ts';
import { firstOf, restoreContents, STAYS } from './restore-tree.ts';
import {
  checkSwappable,
  clearLeftovers,
  namesOf,
  putBack,
  type Swapped,
  settleSwap,
  swapIn,
  swapPaths,
} from './swap.ts';
import { enoughSpace } from './transfer.ts';
import { type Entry, type FileEntry, parseEntries, readTree } from './tree.ts';

/** Restores a directory: beside the live one, then its files into it by rename. */
export function directoryRestorer(part: DirectoryPart, directory: string, recovery: Recovery): Restorer {
  const { name } = part;
  const { id, signal, stateDir } = recovery;
  return {
    part,
    plan: [
      `restore ${count(part.files, 'file')} (${bytes(part.bytesIn)}) to ${swapPaths(directory).beside(id)}`,
      `move what is in ${directory} to ${swapPaths(directory).before(id)}, and the restored files into it`,
    ],
    async prepare() {
      const paths = swapPaths(directory);
      await checkAll([
        () => checkSwappable(paths, name),
        () => enoughSpace(nearest(paths.live), part.bytesIn, `${name} of backup ${id}`),
      ]);
    },
    async restoreBeside(step) {
      const paths = swapPaths(directory);
      settleSwap(stateDir, name, directory);
      await clearLeftovers(paths);
      const beside = paths.beside(id);
      const { staged, entries } = await restoreTo(part, beside, recovery, step);
      const [root, ...inside] = entries;
      // Until the swap it is ours alone, as it was made.
      const own = (): Entry => ({ type: 'directory', path: '', ...attributesOf(lstatSync(staged.at)) });
      // What is on disk since may be of whoever owns the folder.
      let swapped: Swapped | undefined;
      return {
        place: beside,
        compare: () => differences(staged.at, [own(), ...inside], signal),
        discard: () => discard(beside, staged),
        async swapIn() {
          const { live, exists } = paths;
          const becomes: Attributes = root ?? attributesOf(lstatSync(beside));
          const before = paths.before(id);
          const was = exists ? attributesOf(lstatSync(live)) : becomes;
          const incoming = namesOf(beside);
          const swap = { part: name, id, live, created: !exists, beside, before, incoming, was, becomes };
          swapIn(stateDir, swap);
          swapped = swap;
          staged.release();
          return exists ? before : '';
        },
        async swapBack() {
          if (swapped) putBack(stateDir, swapped);
        },
      };
    },
  };
}

/** Restores a directory to another one, which must be empty or absent. */
export function directoryCopier(
  part: DirectoryPart,
  target: string,
  recovery: Omit<Recovery, 'appDir'>,
): Restorer {
  return {
    part,
    plan: [`restore ${count(part.files, 'file')} (${bytes(part.bytesIn)}) to ${target}`],
    async prepare() {
      await checkAll([
        () => checkEmpty(target, part.name),
        () => checkSwappable(swapPaths(target), part.name),
        () => enoughSpace(nearest(target), part.bytesIn, `${part.name} of backup ${recovery.id}`),
      ]);
    },
    async restoreBeside(step) {
      const { staged, entries } = await restoreTo(part, target, recovery, step);
      const [root] = entries;
      if (root) setAttributes(staged.handle, root);
      return {
        place: target,
        compare: () => differences(staged.at, entries, recovery.signal),
        discard: () => discard(target, staged),
        ...STAYS,
      };
    },
  };
}

function checkEmpty(target: string, part: string): void {
  const { exists, live } = swapPaths(target);
  if (!exists || readdirSync(live).length === 0) return;
  throw new Failure(`${part}: ${target} is not empty`, {
    exit: EXIT.usage,
    next: 'name a directory that does not exist; what an interrupted restore left there can be removed',
  });
}

type Access = Pick<Recovery, 'id' | 'store' | 'decrypter' | 'signal' | 'report' | 'host' | 'allowSetuid'>;

/** Fills a directory of ours, or leaves none. It is finished when it gets the attributes of its first entry. */
async function restoreTo(
  part: DirectoryPart,
  directory: string,
  access: Access,
  step: Step,
): Promise<{ staged: HeldDirectory; entries: Entry[] }> {
  const entries = await entriesOf(part, access);
  const staged = stage(directory);
  try {
    await rebuild(part, entries, staged.at, access, step);
    // One sync of the file system instead of an fsync for each of many small files.
    await access.host.run(cmd`sync -f ${directory}`);
  } catch (error) {
    // The failure to report is the first one; what is left of it is cleared by the next restore.
    await discard(directory, staged).catch(() => {});
    throw error;
  }
  step.note(`${count(part.files, 'file')}, ${bytes(part.bytesIn)}`);
  return { staged, entries };
}

/** Who runs such a file does so with its owner's, or its group's, rights. */
const SETUID = 0o6000;

/** The entries that a part lists, its own directory first; from the store, so that a drill proves that it is there. */
async function entriesOf(
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

/** Makes a folder that whoever uses the one above can use: the app, for which root restores, has to get through it. */
function makeFolder(folder: string): void {
  if (existsSync(folder)) return;
  makeFolder(dirname(folder));
  using above = hold(realPath(dirname(folder)));
  mkdirSync(`${above.at}/${basename(folder)}`, { mode: 0o700 });
  const { uid, gid, mode } = fstatSync(above.handle);
  using made = hold(realPath(folder));
  if (isRoot) fchownSync(made.handle, uid, gid);
  fchmodSync(made.handle, mode & 0o755);
}

/** A directory that nobody else may write to, held open: who owns the one above could put another in its place. */
function stage(directory: string): HeldDirectory {
  makeFolder(dirname(directory));
  if (!existsSync(directory)) mkdirSync(directory, { mode: 0o700 });
  const staged = hold(realPath(directory));
  if (isRoot) fchownSync(staged.handle, 0, 0);
  fchmodSync(staged.handle, 0o700);
  if (readdirSync(staged.at).length === 0) return staged;
  throw new Failure(`${directory} was filled by somebody else during the restore`, {
    next: 'find out by whom, and run it again',
  });
}

function discard(directory: string, staged: HeldDirectory): Promise<void> {
  staged.release();
  return removeTree(directory);
}

/** Files up to this size are held in memory and written at once. */
const SMALL = 1e6;

/** Makes everything that `part` lists in `directory`, which must be there and empty; its own attributes stay. */
async function rebuild(
  part: DirectoryPart,
  entries: readonly Entry[],
  directory: string,
  access: Access,
  step: Step,
): Promise<void> {
  const root = fromText(directory);
  const directories = entries.filter(({ type, path }) => type === 'directory' && path !== '');
  for (const { path } of directories) await mkdir(toBytes(below(root, path)), { mode: 0o700 });
  for (const entry of entries)
    if (entry.type === 'symlink') await makeSymlink(below(root, entry.path), entry);
  await restoreContents(part, access, step, {
    entries: entries.filter((entry) => entry.type === 'file'),
    nameOf: ({ path }) => shown(path),
    small: SMALL,
    flowMemory: SMALL,
    put: async (file, content) => {
      const full = toBytes(below(root, file.path));
      try {
        if (content instanceof Uint8Array) writeSmall(full, file, content);
        else await writeLarge(full, file, content);
      } catch (error) {
        throw unwritten(`${part.name}: ${shown(file.path)}`, error);
      }
    },
  });
  // The innermost first: to make something in a directory changes its time.
  for (const entry of directories.reverse()) await finish(below(root, entry.path), entry);
  warnOfOwners(part, entries, access);
}

async function makeSymlink(full: BytePath, entry: Entry & { type: 'symlink' }): Promise<void> {
  const link = toBytes(full);
  await symlink(toBytes(entry.target), link);
  if (isRoot) await lchown(link, entry.uid, entry.gid);
  await lutimes(link, entry.mtime / 1e6, entry.mtime / 1e6);
}

const CREATE = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL;

/** Makes a file at once, which for a small one is several times faster. */
function writeSmall(full: Buffer, entry: FileEntry, content: Uint8Array): void {
  const file = openSync(full, CREATE, 0o600);
  try {
    writeFileSync(file, content);
    setAttributes(file, entry);
  } finally {
    closeSync(file);
  }
}

/** Makes a file of what flows; zeros become holes. */
async function writeLarge(full: Buffer, entry: FileEntry, flow: Flow): Promise<void> {
  await using file = await open(full, CREATE, 0o600);
  let at = 0;
  for await (const chunk of flow) {
    await writeSparse(file, chunk, at);
    at += chunk.byteLength;
  }
  await file.truncate(at);
  setAttributes(file.fd, entry);
}

/** Gives a directory its owner, mode and time, when all that is in it is there. */
async function finish(full: BytePath, entry: Entry): Promise<void> {
  const flags = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;
  await using directory = await open(toBytes(full), flags);
  setAttributes(directory.fd, entry);
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
  if (isRoot) return;
  const others = entries.filter(({ uid }) => uid !== user).length;
  if (others === 0) return;
  report.warn(
    `${name}: ${count(others, 'file')} of other owners now belong to user ${user}: only root can restore their owners`,
  );
}

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
  return firstOf(found);
}

function unlikeIn(entry: Entry, stats: Stats, full: BytePath): string[] {
  const type = typeOf(stats);
  if (type !== entry.type) return [`is a ${type}, not a ${entry.type}`];
  const now = attributesOf(stats);
  const attributes: Array<[string, unknown, unknown]> = [['mtime', now.mtime, entry.mtime]];
  if (entry.type !== 'symlink') attributes.push(['mode', octal(now.mode), octal(entry.mode)]);
  if (entry.type === 'file') attributes.push(['size', stats.size, entry.size]);
  if (entry.type === 'symlink') attributes.push(['target', shown(readLink(full)), shown(entry.target)]);
  if (isRoot) attributes.push(['owner', now.uid, entry.uid], ['group', now.gid, entry.gid]);
  return attributes.flatMap(([name, is, was]) => (is === was ? [] : [`${name} is ${is}, was ${was}`]));
}

function typeOf(stats: Stats): string {
  if (stats.isFile()) return 'file';
  if (stats.isDirectory()) return 'directory';
  return stats.isSymbolicLink() ? 'symlink' : 'special file';
}

const octal = (mode: number) => mode.toString(8).padStart(4, '0');
