import { Failure, messageOf } from '../../failure.ts';
import { count } from '../../format.ts';
import { forEach } from '../../pool.ts';
import type { Step } from '../../report.ts';
import type { DirectoryPart } from '../manifest.ts';
import type { Recovery } from '../part.ts';
import { contentKey } from './contents.ts';
import { contentFlow, fetchWhole } from './fetch.ts';
import { readTree, suffixOfPart } from './lists.ts';
import { type BytePath, below, fromText, shown, some } from './paths.ts';
import { type Entry, type FileEntry, parseEntries } from './tree.ts';
import { finish, makeDirectory, makeSymlink, writeLarge, writeSmall } from './write.ts';

/** Files up to this size are held in memory and written at once. */
const SMALL = 1e6;

/** Who runs such a file does so with its owner's, or its group's, rights. */
const SETUID = 0o6000;

type Access = Pick<Recovery, 'id' | 'store' | 'opener' | 'signal' | 'report' | 'host' | 'allowSetuid'>;

/** The entries that a part lists, its own directory first; from the store, so that a drill proves that it is there. */
export async function entriesOfPart(
  part: DirectoryPart,
  { id, store, opener, report, allowSetuid }: Access,
): Promise<Entry[]> {
  const entries = [...parseEntries(await readTree(part, { store, opener }), { ...part, backup: id })];
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
export async function rebuild(
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
