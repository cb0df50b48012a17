import type { Stats } from 'node:fs';
import { Failure, messageOf } from '../../failure.ts';
import { bytes, count } from '../../format.ts';
import type { Step } from '../../report.ts';
import type { DirectoryPart } from '../manifest.ts';
import type { Source, Work } from '../part.ts';
import { type Contents, openContents, suffixOf } from './contents.ts';
import { type Known, recall, remember } from './memory.ts';
import { type BytePath, below, fromText, shown, some } from './paths.ts';
import { forEach } from './pool.ts';
import { readStable, SMALL } from './read.ts';
import { storeTree } from './store-tree.ts';
import { type Entry, entryLine } from './tree.ts';
import { memoryFor, storeContent } from './upload.ts';
import { microseconds, readLink, stampOf, walk, walkOf } from './walk.ts';

/** A file that was written to so shortly before it was read may be written again without a new mtime. */
const RACY_MS = 2_000;

interface Saved {
  record: DirectoryPart;
  /** Remembers what is stored; to be called when the manifest is. */
  committed(): Promise<void>;
}

/** Stores what is new in a directory, and the tree of all that it has. */
export async function saveDirectory(source: Source, work: Work, step: Step): Promise<Saved> {
  const { store, sealer, stateDir } = work;
  const suffix = suffixOf(sealer);
  const place = stateDir === undefined ? undefined : { stateDir, part: source, store, suffix };
  const memory = place && recall(place);
  const contents = await openContents({ store, suffix }, memory);
  const scan = await look(source, work, contents, memory?.known);
  const gone = await storeUnread(scan, source, work, contents, step);
  const added = { ...contents.added };
  const { entries, known } = scan;
  entries.sort((a, b) => (a.path < b.path ? -1 : 1));
  const tree = await storeTree(linesOf(entries), work, contents);
  await contents.confirm();
  const numbers = countEntries(entries);
  step.note(
    `${count(numbers.files, 'file')}, ${bytes(numbers.bytesIn)}; ` +
      `new: ${count(added.count, 'content')}, ${bytes(added.bytes)}` +
      (gone > 0 ? `; ${count(gone, 'file')} vanished meanwhile` : ''),
  );
  const { kind, name, uri } = source;
  return {
    record: { kind, name, source: uri, ...numbers, bytesOut: contents.added.bytes, tree } as DirectoryPart,
    committed: async () => {
      if (place) remember(place, { backup: work.id, tree: tree.sha256, files: numbers.files, known });
    },
  };
}

/** Stores the files that are new or changed; returns how many vanished before they could be read. */
async function storeUnread(
  { unread, total, entries, known }: Scan,
  { name, uri }: Source,
  { store, sealer, signal }: Work,
  contents: Contents,
  step: Step,
): Promise<number> {
  const root = fromText(uri);
  let gone = 0;
  let done = total - unread.length;
  step.progress({ done, total, unit: 'files' });
  await forEach(unread, {
    signal,
    weigh: ({ size }) => memoryFor(size, SMALL, sealer),
    act: async ({ path }) => {
      const label = `${name}: ${shown(path)}`;
      const found = await naming(label, () =>
        readStable(below(root, path), label, async ({ content, ...reading }) => {
          await storeContent({ store, sealer, contents }, reading.measure, content);
          return reading;
        }),
      );
      done += 1;
      step.progress({ done, total, unit: 'files' });
      if (!found) {
        gone += 1;
        return;
      }
      const { at, stats, measure } = found;
      entries.push({ ...common(path, stats), type: 'file', size: stats.size, sha256: measure.sha256 });
      if (at - stats.mtimeMs >= RACY_MS) known.set(path, { stamp: stampOf(stats), sha256: measure.sha256 });
    },
  });
  return gone;
}

interface Scan {
  entries: Entry[];
  /** What can be trusted to be unchanged the next time. */
  known: Map<BytePath, Known>;
  /** Files that are new or changed. */
  unread: Array<{ path: BytePath; size: number }>;
  total: number;
}

async function look(
  source: Source,
  work: Work,
  contents: Contents,
  before: ReadonlyMap<string, Known> | undefined,
): Promise<Scan> {
  const root = fromText(source.uri);
  const scan: Scan = { entries: [], known: new Map(), unread: [], total: 0 };
  const special: BytePath[] = [];
  await walk(root, walkOf(work), (path, stats) => {
    if (stats.isFile()) {
      scan.total += 1;
      const known = before?.get(path);
      if (known?.stamp === stampOf(stats) && contents.has({ sha256: known.sha256, bytes: stats.size })) {
        scan.known.set(path, known);
        scan.entries.push({ ...common(path, stats), type: 'file', size: stats.size, sha256: known.sha256 });
      } else scan.unread.push({ path, size: stats.size });
    } else if (stats.isDirectory()) scan.entries.push({ ...common(path, stats), type: 'directory' });
    else if (stats.isSymbolicLink()) {
      scan.entries.push({ ...common(path, stats), type: 'symlink', target: readLink(below(root, path)) });
    } else special.push(path);
  });
  if (special.length > 0) {
    const names = some(special.map(shown));
    work.report.warn(`${source.name}: left out, being no files (sockets, pipes, devices): ${names}`);
  }
  return scan;
}

function* linesOf(entries: readonly Entry[]): Generator<string> {
  for (const entry of entries) yield entryLine(entry);
}

function common(path: BytePath, stats: Stats) {
  const { mode, uid, gid } = stats;
  return { path, mode: mode & 0o7777, uid, gid, mtime: microseconds(stats) };
}

function countEntries(entries: readonly Entry[]) {
  const numbers = { files: 0, directories: 0, symlinks: 0, bytesIn: 0 };
  for (const entry of entries) {
    if (entry.type === 'file') {
      numbers.files += 1;
      numbers.bytesIn += entry.size;
    } else if (entry.type === 'symlink') numbers.symlinks += 1;
    else if (entry.path !== '') numbers.directories += 1;
  }
  return numbers;
}

/** Says of which file the system refused something. */
async function naming<T>(label: string, act: () => Promise<T>): Promise<T> {
  try {
    return await act();
  } catch (error) {
    const { code, syscall } = error as NodeJS.ErrnoException;
    if (!['open', 'read', 'fstat'].includes(syscall ?? '')) throw error;
    throw new Failure(`${label} cannot be read (${messageOf(error)})`, {
      next:
        code === 'EACCES' ? 'run it as its owner or as root' : 'check the disk; then run the backup again',
      cause: error,
    });
  }
}
