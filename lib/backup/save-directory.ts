import { closeSync, constants, fstatSync, openSync, read as readCallback, type Stats } from 'node:fs';
import { setTimeout } from 'node:timers/promises';
import { promisify } from 'node:util';
import { EXIT, Failure, messageOf, throwAll } from '../failure.ts';
import { bytes, count } from '../format.ts';
import {
  type BytePath,
  below,
  type DirectoryAddress,
  fromText,
  locate,
  shown,
  some,
  toBytes,
} from './addresses.ts';
import { measureOf, SMALL } from './blobs.ts';
import { type Measure, measured } from './encryption.ts';
import {
  attributesOf,
  isGone,
  isReadable,
  isRefusal,
  isRoot,
  readLink,
  realPath,
  stampOf,
  walk,
} from './file-system.ts';
import type { Source, Work } from './manifest.ts';
import { prepareTree, type Reading, type Saver } from './save-tree.ts';
import { refuseHalfSwapped } from './swap.ts';
import { type Entry, entryLine } from './tree.ts';

/** A directory as a part of a backup: incremental, each content stored once under its SHA-256. */
export function directorySource(address: DirectoryAddress, appDir: string): Source {
  const directory = locate(address, appDir);
  const source: Source = {
    kind: 'directory',
    name: address.name,
    uri: directory,
    async prepare(work) {
      const { files, size } = await survey(source, work);
      const reading = `read those of ${count(files, 'file')} (${bytes(size)}) below ${directory} that are new or changed`;
      return prepareTree(source, work, reading, async (saver) => {
        const scan = await look(source, work, saver).catch((error) => {
          throw unreadable(source, error);
        });
        await storeUnread(source, scan, saver);
        const entries = scan.entries.sort((a, b) => (a.path < b.path ? -1 : 1));
        return { lines: entries.values().map(entryLine), numbers: countEntries(entries) };
      });
    },
  };
  return source;
}

/** Looks at everything that the backup will read. */
async function survey({ name, uri }: Source, work: Work): Promise<{ files: number; size: number }> {
  refuseHalfSwapped(work, name);
  const root = fromText(uri);
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
    throw unreadable({ name, uri }, error);
  }
  const problems: Failure[] = [];
  if (refused.length > 0) problems.push(refusal(name, refused));
  if (files + links + refused.length === 0 && !work.allowEmpty) {
    const message = `${name}: there is no file in ${uri}; a volume that is not mounted looks like this`;
    problems.push(
      new Failure(message, { next: 'mount it, or pass --allow-empty if it is meant to be empty' }),
    );
  }
  if (`${work.store.uri}/`.startsWith(`file://${uri}/`)) {
    const message = `${name}: BACKUP_STORE ${work.store.uri} lies in ${uri}: each backup would contain the last`;
    problems.push(new Failure(message, { exit: EXIT.usage, next: 'move the store out of the directory' }));
  }
  throwAll(problems);
  return { files, size };
}

/** How a directory of this backup is walked. */
const walkOf = ({ stateDir, appDir, signal }: Work) => ({
  skip: [fromText(stateDir ?? `${appDir}/.opsbook`)],
  signal,
});

interface Scan {
  entries: Entry[];
  /** Files that are new or changed. */
  unread: Array<{ path: BytePath; size: number }>;
  total: number;
}

async function look({ name, uri }: Source, work: Work, saver: Saver): Promise<Scan> {
  const root = fromText(uri);
  const scan: Scan = { entries: [], unread: [], total: 0 };
  const special: BytePath[] = [];
  realPath(uri);
  await walk(root, walkOf(work), (path, stats) => {
    if (stats.isFile()) {
      scan.total += 1;
      const known = saver.unchanged(path, stampOf(stats), stats.size);
      if (known) scan.entries.push(fileEntry(path, stats, known));
      else scan.unread.push({ path, size: stats.size });
    } else if (stats.isDirectory()) scan.entries.push({ path, ...attributesOf(stats), type: 'directory' });
    else if (stats.isSymbolicLink()) scan.entries.push(...symlinkEntry(root, path, stats));
    else special.push(path);
  });
  if (special.length > 0) {
    const names = some(special.map(shown));
    work.report.warn(`${name}: left out, because they are not files (sockets, pipes, devices): ${names}`);
  }
  return scan;
}

const fileEntry = (path: BytePath, stats: Stats, { sha256 }: { sha256: string }): Entry => ({
  ...{ path, ...attributesOf(stats) },
  ...{ type: 'file', size: stats.size, sha256 },
});

/** None where it vanished since it was seen. */
function symlinkEntry(root: BytePath, path: BytePath, stats: Stats): Entry[] {
  try {
    return [{ path, ...attributesOf(stats), type: 'symlink', target: readLink(below(root, path)) }];
  } catch (error) {
    if (isGone(error)) return [];
    throw error;
  }
}

/** Stores the files that are new or changed. */
async function storeUnread(
  { name, uri }: Source,
  { unread, total, entries }: Scan,
  saver: Saver,
): Promise<void> {
  const root = fromText(uri);
  await saver.forEach(unread, total, async ({ path }) => {
    const found = await storeFile(below(root, path), `${name}: ${shown(path)}`, saver);
    if (!found) return false;
    const { at, stats, measure } = found;
    entries.push(fileEntry(path, stats, measure));
    if (isSettled(stats, at)) saver.known.set(path, { stamp: stampOf(stats), sha256: measure.sha256 });
    return true;
  });
}

/** Stores a file as it is now; nothing when it vanished, or is not a file any more. */
async function storeFile(full: BytePath, label: string, saver: Saver): Promise<FileReading | undefined> {
  const file = openFile(full, label);
  if (file === undefined) return undefined;
  try {
    if (!fstatSync(file).isFile()) return undefined;
    const read = () =>
      take(file).catch((error) => {
        throw cannotRead(label, error);
      });
    return await saver.store(label, 'stop what writes to it, or move it out of the directory', read);
  } finally {
    closeSync(file);
  }
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

/** Names what may not be read. */
function refusal(name: string, paths: readonly BytePath[]): Failure {
  const what = `${paths.length} of its files and directories may not be read by user ${process.getuid?.()}`;
  return new Failure(`${name}: ${what}: ${some(paths.map((path) => shown(path || '.')))}`, {
    next: 'run it as their owner or as root, or let this user read them',
  });
}

/** What a file system call threw about the directory as a whole. */
function unreadable({ name, uri }: Pick<Source, 'name' | 'uri'>, error: unknown): unknown {
  const { code, syscall } = error as NodeJS.ErrnoException;
  if (syscall === undefined) return error;
  if (isRefusal(error)) return refusal(name, ['']);
  const failed = (how: string, next: string) => new Failure(`${name}: ${uri} ${how}`, { next, cause: error });
  if (code === 'ENOENT') return failed('is not there', 'create or mount it, or correct BACKUP_DIRECTORIES');
  if (code === 'ENOTDIR') return failed('is not a directory', 'correct BACKUP_DIRECTORIES');
  return failed(`cannot be read (${code})`, 'check the disk');
}

const CHUNK = 1 << 20;

const read = promisify(readCallback);

/** A file as it was at one moment: its first `stats.size` bytes. */
interface FileReading extends Reading {
  stats: Stats;
  /** Milliseconds since 1970; a later write can have left the same mtime when it is not well before this. */
  at: number;
}

/** The walk looked at its inode just now, so that opening it waits for no disk; only reading does. */
function openFile(full: BytePath, label: string): number | undefined {
  try {
    // What was a file when it was listed may be a symlink or a pipe by now; neither is to be followed or waited for.
    return openSync(toBytes(full), constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    if (isGone(error)) return undefined;
    throw cannotRead(label, error);
  }
}

function cannotRead(label: string, error: unknown): Failure {
  const { code } = error as NodeJS.ErrnoException;
  return new Failure(`${label} cannot be read (${messageOf(error)})`, {
    next: code === 'EACCES' ? 'run it as its owner or as root' : 'check the disk; then run the backup again',
    cause: error,
  });
}

/** A file that was written to so shortly before it was read may be written again without a new mtime. */
const RACY_MS = 2_000;
/** So coarsely the kernel's clock ticks by which a ctime is set. */
const TICK_MS = 20;

/** Whether what is written to a file after `at` will be seen by its times. Some file systems keep them in seconds. */
const isSettled = ({ mtimeMs, ctimeMs }: Stats, at: number): boolean =>
  at - mtimeMs >= RACY_MS && at - ctimeMs >= (ctimeMs % 1000 === 0 ? RACY_MS : TICK_MS);

async function take(file: number): Promise<FileReading | 'changing'> {
  const age = Date.now() - fstatSync(file).ctimeMs;
  if (age >= 0 && age <= TICK_MS) await setTimeout(TICK_MS + 2);
  const at = Date.now();
  const stats = fstatSync(file);
  const content = stats.size <= SMALL ? await wholeOf(file, stats.size) : undefined;
  const measure = content ? measureOf(content) : await drain(file, stats.size);
  if (measure.bytes < stats.size) return 'changing';
  const isTouched = stampOf(fstatSync(file)) !== stampOf(stats);
  // One that only grows is taken as long as it was at first.
  if (isTouched && (await drain(file, stats.size)).sha256 !== measure.sha256) return 'changing';
  return { at, stats, measure, content: content ?? (() => bytesOf(file, stats.size)) };
}

async function wholeOf(file: number, size: number): Promise<Uint8Array> {
  const buffer = Buffer.allocUnsafe(size);
  let at = 0;
  while (at < size) {
    const { bytesRead } = await read(file, buffer, at, size - at, at);
    if (bytesRead === 0) break;
    at += bytesRead;
  }
  return buffer.subarray(0, at);
}

/** @param reused memory for every piece in turn, where nobody keeps one */
async function* bytesOf(file: number, size: number, reused?: Buffer): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < size; ) {
    const most = Math.min(CHUNK, size - at);
    const buffer = reused ?? Buffer.allocUnsafeSlow(most);
    const { bytesRead } = await read(file, buffer, 0, most, at);
    if (bytesRead === 0) return;
    at += bytesRead;
    yield buffer.subarray(0, bytesRead);
  }
}

async function drain(file: number, size: number): Promise<Measure> {
  const reading = measured(bytesOf(file, size, Buffer.allocUnsafeSlow(Math.min(CHUNK, size))));
  for await (const _ of reading.flow);
  return reading.result();
}
