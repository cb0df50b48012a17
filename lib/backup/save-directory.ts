import type { Stats } from 'node:fs';
import { EXIT, Failure, Problems } from '../failure.ts';
import { bytes, count } from '../format.ts';
import type { Step } from '../output.ts';
import { forEach } from '../pool.ts';
import { type BytePath, below, type DirectoryAddress, fromText, locate, shown, some } from './addresses.ts';
import { isCutOff, readExchange } from './exchange.ts';
import { beginSaving, endSaving, type Saved, type Saving } from './lists.ts';
import type { Prepared, Source, Work } from './manifest.ts';
import { isSettled, readStable, SMALL } from './read.ts';
import { memoryFor, storeContent } from './transfer.ts';
import { type Entry, entryLine } from './tree.ts';
import {
  isGone,
  isReadable,
  microseconds,
  readLink,
  realPath,
  refusal,
  stampOf,
  unreadable,
  walk,
  walkOf,
} from './walk.ts';

/** Stores what is new in a directory, and the tree of all that it has. */
async function saveDirectory(source: Source, work: Work, step: Step): Promise<Saved> {
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
  const { store, encrypter, signal } = work;
  const root = fromText(source.uri);
  let done = total - unread.length;
  step.progress({ done, total, unit: 'files' });
  await forEach(unread, {
    signal,
    weigh: ({ size }) => memoryFor(size, SMALL, encrypter),
    act: async ({ path }) => {
      const label = `${source.name}: ${shown(path)}`;
      const found = await readStable(below(root, path), label, async ({ content, ...reading }) => {
        await storeContent({ store, encrypter, contents }, reading.measure, content);
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

/** A directory as a part of a backup: incremental, each content stored once under its SHA-256. */
export function directorySource(address: DirectoryAddress, appDir: string): Source {
  const directory = locate(address, appDir);
  const source: Source = {
    kind: 'directory',
    name: address.name,
    uri: directory,
    async prepare(work): Promise<Prepared> {
      const { files, size } = await survey(source, work);
      let saved: Saved | undefined;
      return {
        source,
        plan: [
          `read those of ${count(files, 'file')} (${bytes(size)}) below ${directory} that are new or changed`,
          `store each content that is not there yet at ${work.store.address('content/')}`,
        ],
        async save(step) {
          saved = await saveDirectory(source, work, step);
          return saved.record;
        },
        confirm: async () => saved?.confirm(),
        committed: async () => saved?.committed(),
      };
    },
  };
  return source;
}

/** Looks at everything that the backup will read. */
async function survey({ name, uri }: Source, work: Work): Promise<{ files: number; size: number }> {
  refuseHalfSwapped(name, work);
  const root = fromText(uri);
  const isRoot = process.getuid?.() === 0;
  const refused: BytePath[] = [];
  let [files, links, size] = [0, 0, 0];
  try {
    realPath(uri);
    await walk(root, { ...walkOf(work), onRefused: (path) => refused.push(path) }, (path, stats) => {
      if (stats.isSymbolicLink()) links += 1;
      if (!stats.isFile()) return;
      files += 1;
      size += stats.size;
      if (!isRoot && !isReadable(below(root, path))) refused.push(path);
    });
  } catch (error) {
    throw unreadable(name, uri, error);
  }
  const isEmpty = files + links + refused.length === 0;
  const problems: Failure[] = [];
  if (refused.length > 0) problems.push(refusal(name, refused));
  if (isEmpty && !work.allowEmpty) problems.push(empty(name, uri));
  if (`${work.store.uri}/`.startsWith(`file://${uri}/`))
    problems.push(storeInside(name, uri, work.store.uri));
  if (problems.length === 1) throw problems[0];
  if (problems.length > 1) throw new Problems(problems);
  return { files, size };
}

/** A swap that was cut off left some files in another directory: a backup of that would be a wrong one. */
function refuseHalfSwapped(name: string, { stateDir, appDir }: Work): void {
  const folder = stateDir ?? `${appDir}/.opsbook`;
  const exchange = isReadable(fromText(folder)) ? readExchange(folder, name) : undefined;
  if (!isCutOff(exchange)) return;
  throw new Failure(
    `${name}: the restore of ${exchange.id} was cut off while it moved files in ${exchange.live}`,
    {
      next: 'restore it again, or take it back: npx tsx scripts/backup/restore.ts --undo',
    },
  );
}

function empty(name: string, directory: string): Failure {
  return new Failure(
    `${name}: there is no file in ${directory}; a volume that is not mounted looks like this`,
    {
      next: 'mount it, or say --allow-empty if it is meant to be empty',
    },
  );
}

function storeInside(name: string, directory: string, store: string): Failure {
  return new Failure(
    `${name}: BACKUP_STORE ${store} lies in ${directory}: each backup would contain the last`,
    {
      exit: EXIT.usage,
      next: 'move the store out of the directory',
    },
  );
}
