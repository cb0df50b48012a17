import type { Stats } from 'node:fs';
import { forEach } from '../../pool.ts';
import type { Step } from '../../report.ts';
import type { Source, Work } from '../part.ts';
import { type BytePath, below, fromText, shown, some } from './paths.ts';
import { realPath } from './places.ts';
import { isSettled, readStable, SMALL } from './read.ts';
import { unreadable } from './refusals.ts';
import { beginSaving, endSaving, type Saved, type Saving } from './saving.ts';
import { type Entry, entryLine } from './tree.ts';
import { memoryFor, storeContent } from './upload.ts';
import { isGone, microseconds, readLink, stampOf, walk, walkOf } from './walk.ts';

/** Stores what is new in a directory, and the tree of all that it has. */
export async function saveDirectory(source: Source, work: Work, step: Step): Promise<Saved> {
  const saving = await beginSaving(source, work);
  const scan = await look(saving).catch((error) => {
    throw unreadable(source.name, source.uri, error);
  });
  await storeUnread(scan, saving, step);
  const { entries } = scan;
  entries.sort((a, b) => (a.path < b.path ? -1 : 1));
  return endSaving(saving, linesOf(entries), countEntries(entries), step);
}

interface Scan {
  entries: Entry[];
  /** Files that are new or changed. */
  unread: Array<{ path: BytePath; size: number }>;
  total: number;
}

async function look({ source, work, contents, before, known }: Saving): Promise<Scan> {
  const root = fromText(source.uri);
  const scan: Scan = { entries: [], unread: [], total: 0 };
  const special: BytePath[] = [];
  realPath(source.uri);
  await walk(root, walkOf(work), (path, stats) => {
    if (stats.isFile()) {
      scan.total += 1;
      const last = before.get(path);
      if (last?.stamp === stampOf(stats) && contents.hasStill({ sha256: last.sha256, bytes: stats.size })) {
        known.set(path, last);
        scan.entries.push({ ...common(path, stats), type: 'file', size: stats.size, sha256: last.sha256 });
      } else scan.unread.push({ path, size: stats.size });
    } else if (stats.isDirectory()) scan.entries.push({ ...common(path, stats), type: 'directory' });
    else if (stats.isSymbolicLink()) scan.entries.push(...symlinkEntry(root, path, stats));
    else special.push(path);
  });
  if (special.length > 0) {
    const names = some(special.map(shown));
    work.report.warn(`${source.name}: left out, being no files (sockets, pipes, devices): ${names}`);
  }
  return scan;
}

/** None where it vanished since it was seen. */
function symlinkEntry(root: BytePath, path: BytePath, stats: Stats): Entry[] {
  try {
    return [{ ...common(path, stats), type: 'symlink', target: readLink(below(root, path)) }];
  } catch (error) {
    if (isGone(error)) return [];
    throw error;
  }
}

/** Stores the files that are new or changed. */
async function storeUnread({ unread, total, entries }: Scan, saving: Saving, step: Step): Promise<void> {
  const { source, work, contents, known } = saving;
  const { store, sealer, signal } = work;
  const root = fromText(source.uri);
  let done = total - unread.length;
  step.progress({ done, total, unit: 'files' });
  await forEach(unread, {
    signal,
    weigh: ({ size }) => memoryFor(size, SMALL, sealer),
    act: async ({ path }) => {
      const label = `${source.name}: ${shown(path)}`;
      const found = await readStable(below(root, path), label, async ({ content, ...reading }) => {
        await storeContent({ store, sealer, contents }, reading.measure, content);
        return reading;
      });
      done += 1;
      step.progress({ done, total, unit: 'files' });
      if (!found) {
        saving.gone += 1;
        return;
      }
      const { at, stats, measure } = found;
      entries.push({ ...common(path, stats), type: 'file', size: stats.size, sha256: measure.sha256 });
      if (isSettled(stats, at)) known.set(path, { stamp: stampOf(stats), sha256: measure.sha256 });
    },
  });
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
