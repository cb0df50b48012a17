import {
  closeSync,
  constants,
  createReadStream,
  createWriteStream,
  existsSync,
  fchmodSync,
  fchownSync,
  fstatSync,
  lstatSync,
  openSync,
  renameSync,
  rmSync,
} from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { backup, DatabaseSync } from 'node:sqlite';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { Failure, messageOf } from '../failure.ts';
import { bytes, count, duration } from '../format.ts';
import type { Step } from '../output.ts';
import { ident, sql } from '../sql.ts';
import type { SqliteAddress } from './addresses.ts';
import type { Flow } from './encryption.ts';
import { hold, realPath } from './file-system.ts';
import { dateOf } from './id.ts';
import {
  differences,
  type Prepared,
  type Recovery,
  type Restored,
  type Restorer,
  type Source,
  type SqlitePart,
  type TableRows,
  type Work,
} from './manifest.ts';
import { enoughSpace, readStored, saveFlow, unzstd, zstd } from './transfer.ts';

/** How long we wait for the app's write locks. */
const BUSY_MS = 30_000;
/** What node:sqlite says of a destination that somebody else has locked: SQLite's code for it is not passed on. */
const LOCKED = 'not an error';
const RETRY_MS = 10;
/** All pages in one step: what other processes write meanwhile would start the copy anew. */
const ALL_PAGES = 2 ** 31 - 1;

/** Copies a database that others write to, as of one moment; an existing `to` gets the content, connections and all. */
async function copyDatabase(from: string, to: string): Promise<void> {
  const database = open(from);
  try {
    await copyWhenFree(database, to);
  } catch (error) {
    const said = messageOf(error) === LOCKED ? `locked for ${duration(BUSY_MS)}` : messageOf(error);
    throw new Failure(`${from} → ${to}: ${said}`, {
      next: 'end what holds its lock, and try again',
    });
  } finally {
    database.close();
  }
}

/** Unlike a connection of ours, the one that node:sqlite makes to the destination does not wait for its lock. */
async function copyWhenFree(database: DatabaseSync, to: string): Promise<void> {
  const deadline = Date.now() + BUSY_MS;
  for (;;) {
    try {
      await backup(database, to, { rate: ALL_PAGES });
      return;
    } catch (error) {
      if (messageOf(error) !== LOCKED || Date.now() > deadline) throw error;
      await sleep(RETRY_MS);
    }
  }
}

/**
 * Reads a database through: the rows of every table.
 * @throws Failure when SQLite's own check finds it damaged
 */
function inspect(file: string): TableRows[] {
  const database = open(file);
  try {
    const [verdict] = database.prepare('PRAGMA quick_check(1)').all() as Array<{ quick_check: string }>;
    if (verdict?.quick_check !== 'ok') {
      throw new Failure(`${file} is damaged: ${verdict?.quick_check}`, { next: 'restore it from a backup' });
    }
    const tables = database
      .prepare(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY 1",
      )
      .all() as Array<{ name: string }>;
    return tables.map(({ name }) => {
      const { text } = sql`SELECT count(*) AS rows FROM ${ident(name)}`;
      const { rows } = database.prepare(text).get() as { rows: number };
      return { table: name, rows };
    });
  } catch (error) {
    if (error instanceof Failure) throw error;
    throw new Failure(`${file}: ${messageOf(error)}`, {
      next: 'check that it is a SQLite database',
      cause: error,
    });
  } finally {
    database.close();
  }
}

function open(file: string): DatabaseSync {
  try {
    return new DatabaseSync(file, { readOnly: true, timeout: BUSY_MS });
  } catch (error) {
    throw new Failure(`${file}: ${messageOf(error)}`, {
      next: 'check the path in BACKUP_DATABASES',
      cause: error,
    });
  }
}

/** Makes an empty file for its owner alone, in which SQLite can make a database. @throws EEXIST, also for a link */
function createFile(file: string): number {
  const { O_RDWR, O_CREAT, O_EXCL, O_NOFOLLOW } = constants;
  return inDirectoryOf(file, (own) => openSync(own, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600));
}

/** Does something by a path of a file that leads to its directory, whatever becomes of that directory's own path. */
function inDirectoryOf<T>(file: string, act: (own: string) => T): T {
  const held = hold(realPath(dirname(file)));
  try {
    return act(`${held.at}/${basename(file)}`);
  } finally {
    held.release();
  }
}

/** Removes a copy of ours with what SQLite keeps beside a database: to read one in WAL mode makes these. */
function removeDatabase(file: string): void {
  if (!existsSync(dirname(file))) return;
  for (const name of [file, ...besideOf(file)]) inDirectoryOf(name, (own) => rmSync(own, { force: true }));
}

/** What SQLite keeps beside a database. Of another database than `file`, it would be taken for changes to this one. */
const besideOf = (file: string): string[] => ['-wal', '-shm', '-journal'].map((end) => file + end);

const readFlow = (file: string): Flow => createReadStream(file, { highWaterMark: 1 << 20 });

/** A SQLite database as a part of a backup: a snapshot of it is taken while the app writes. */
export function sqliteSource(address: SqliteAddress): Source {
  const source: Source = {
    kind: 'sqlite',
    name: address.name,
    uri: address.uri,
    async prepare(work) {
      inspect(realPath(address.file));
      const { size } = await stat(address.file);
      await enoughSpace(work.stateDir ?? dirname(address.file), size, `a snapshot of ${address.file}`);
      const key = `backups/${work.id}/${address.name}.db.zst${work.encrypter.suffix}`;
      const plan = [`snapshot of ${address.file}, zstd`, `  → ${work.store.address(key)}`];
      return { source, plan, save: (step) => save(source, address, key, work, step) };
    },
  };
  return source;
}

async function save(
  { name, uri }: Source,
  { file }: SqliteAddress,
  key: string,
  work: Work,
  step: Parameters<Prepared['save']>[0],
): Promise<SqlitePart> {
  // The one part that cannot be streamed: a file that is being written has no consistent stream.
  const snapshot = join(work.stateDir ?? dirname(file), `snapshot-${name}.db`);
  try {
    removeDatabase(snapshot);
    closeSync(createFile(snapshot));
    await copyDatabase(realPath(file), snapshot);
    const tables = inspect(snapshot);
    const { size } = await stat(snapshot);
    const dump = await saveFlow(zstd(readFlow(snapshot)), key, size * 2, work, (done) =>
      step.progress({ done, unit: 'bytes' }),
    );
    step.note(`${bytes(dump.bytes)}, ${count(tables.length, 'table')}`);
    const { uid, gid, mode } = await stat(file);
    const owner = { uid, gid, mode: mode & 0o777 };
    return { kind: 'sqlite', name, source: uri, bytesIn: size, bytesOut: dump.bytes, dump, tables, owner };
  } finally {
    removeDatabase(snapshot);
  }
}

interface Target {
  /** The live database's file. */
  live: string;
  /** Where it comes back. */
  beside: string;
  /** A name that was given by `--to` is nobody's to overwrite; a drill's is for nobody's eyes. */
  for: 'live' | 'to' | 'drill';
}

/** A SQLite database that comes back beside the live one. */
export function sqliteRestorer(part: SqlitePart, target: Target, recovery: Recovery): Restorer {
  const { beside } = target;
  return {
    part,
    plan: [`get ${recovery.store.address(part.dump.key)}`, `  → ${beside}`],
    async prepare() {
      if (target.for === 'live') realPath(target.live);
      if (target.for === 'to' && isThere(beside))
        throw new Failure(`${beside} exists already`, { next: 'name another by --to' });
      const directory = dirname(beside);
      if (!existsSync(directory)) {
        throw new Failure(`${part.name}: ${directory} is not there`, {
          next: `mount it, or make it as the app's user: mkdir -p ${directory}`,
        });
      }
      await enoughSpace(dirname(beside), part.bytesIn, `restoring ${part.name}`);
    },
    restoreBeside: (step) => restoreBeside(part, target, recovery, step),
  };
}

async function restoreBeside(
  part: SqlitePart,
  target: Target,
  recovery: Recovery,
  step: Step,
): Promise<Restored> {
  const { live, beside } = target;
  const { signal, id, report } = recovery;
  let kept = '';
  const discard = async () => removeDatabase(beside);
  try {
    await clearBeside(beside, id);
    const onBytes = (done: number) => step.progress({ done, total: part.dump.bytes, unit: 'bytes' });
    await readStored(part.dump, part.name, { ...recovery, onBytes }, async (plain) => {
      const file = createWriteStream(beside, { fd: createFile(beside) });
      await pipeline(Readable.from(unzstd(plain), { objectMode: false }), file, { signal });
    });
    // A live file stays where it is, and keeps its owner.
    if (target.for === 'to' || (target.for === 'live' && !existsSync(live))) {
      const owner = await ownerOf(part, live);
      give(beside, owner);
      const warning = await unusable(beside, owner);
      if (warning) report.warn(`${part.name}: ${warning}`);
    }
  } catch (error) {
    await discard();
    throw error;
  }
  return {
    place: beside,
    compare: async () => differences(part.tables, inspect(beside)),
    async swapIn() {
      const before = free(`${live}_before_${id}`);
      const old = existsSync(live) ? before : '';
      await replace(live, before, beside);
      kept = old;
      return kept;
    },
    async swapBack() {
      if (kept) await copyDatabase(ownFile(kept), realPath(live));
    },
    discard,
  };
}

/** Removes what killed runs left under names like this one, of whatever backup. */
async function clearBeside(beside: string, id: string): Promise<void> {
  const [before = '', after] = basename(beside).split(id);
  if (after === undefined) return;
  for (const name of await readdir(dirname(beside))) {
    const middle = name.slice(before.length, name.length - after.length);
    if (name === before + middle + after && dateOf(middle)) removeDatabase(join(dirname(beside), name));
  }
}

function free(base: string): string {
  let name = base;
  for (let n = 2; isThere(name); n += 1) name = `${base}_${n}`;
  return name;
}

/** Also a link that leads nowhere: who writes there would make what it names. */
const isThere = (path: string) => lstatSync(path, { throwIfNoEntry: false }) !== undefined;

/** What SQLite will read becomes the app's: no link may stand for it. */
function ownFile(file: string): string {
  if (lstatSync(file).isFile()) return file;
  throw new Failure(`${file} is no regular file: not used`, { next: 'see who made it, and remove it' });
}

interface Owner {
  uid: number;
  gid: number;
  mode: number;
}

/** Of the live file; else what the backup says of it; else, of older backups, the directory's, for its owner alone. */
async function ownerOf({ owner }: SqlitePart, live: string): Promise<Owner> {
  const now = await stat(live).catch(() => undefined);
  if (now || owner) return now ?? (owner as Owner);
  const { uid, gid } = await stat(dirname(live));
  return { uid, gid, mode: 0o600 };
}

/** Gives a file of ours to its owner. */
function give(file: string, owner: Owner): void {
  const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = constants;
  const handle = inDirectoryOf(file, (own) => openSync(own, O_RDONLY | O_NOFOLLOW | O_NONBLOCK));
  try {
    const { uid, nlink } = fstatSync(handle);
    if (nlink > 1 || (uid !== owner.uid && uid !== process.geteuid?.()))
      throw new Failure(`${file} is not what was restored any more: not given to its owner`, {
        next: `see who changed it: ls -l ${file}`,
      });
    giveOpen(handle, owner);
  } finally {
    closeSync(handle);
  }
}

function giveOpen(handle: number, { uid, gid, mode }: Owner): void {
  if (process.getuid?.() === 0) fchownSync(handle, uid, gid);
  fchmodSync(handle, mode & 0o777);
}

/** What keeps the owner from using a file that was given to him. */
async function unusable(file: string, { uid, gid }: Owner): Promise<string | undefined> {
  const user = process.getuid?.();
  if (user !== 0) {
    if (user === uid) return undefined;
    return `it belongs to user ${user} now, and was user ${uid}'s: only root can give it back`;
  }
  const directory = dirname(file);
  const is = await stat(directory);
  const right = is.uid === uid ? 0o300 : is.gid === gid ? 0o030 : 0o003;
  if (uid === 0 || (is.mode & right) === right) return undefined;
  return `its owner, user ${uid}, may not write to ${directory}, where SQLite makes files beside it: chown or chmod it`;
}

/**
 * Keeps the live database as `kept` and gives it the content of `next`, through SQLite: who has it open sees
 * the new content in the next transaction. What is no database any more is moved away instead.
 */
async function replace(live: string, kept: string, next: string): Promise<void> {
  ownFile(next);
  if (!existsSync(live)) return moveIn(live, kept, next);
  const file = realPath(live);
  const was = await stat(file);
  const handle = createFile(kept);
  try {
    await copyDatabase(file, kept);
    await copyDatabase(next, file);
    giveOpen(handle, was);
  } catch (error) {
    removeDatabase(kept);
    if (!/malformed|not a database/.test(String(error))) throw error;
    move(live, kept);
    moveIn(live, kept, next);
    give(live, was);
  } finally {
    closeSync(handle);
  }
  removeDatabase(next);
}

/** Renames `next` to where no `live` is. What SQLite kept beside one that was there would be taken for its own. */
function moveIn(live: string, kept: string, next: string): void {
  const aside = besideOf(kept);
  for (const [i, file] of besideOf(live).entries()) if (isThere(file)) move(file, aside[i] as string);
  move(next, live);
  removeDatabase(next);
}

/** Renames a file in its directory. */
const move = (from: string, to: string) =>
  inDirectoryOf(from, (own) => renameSync(own, join(dirname(own), basename(to))));

/** Puts `kept` back into the live place, and what was live aside; returns that file. */
export async function undoSqlite(live: string, kept: string, id: string): Promise<string> {
  if (!existsSync(kept)) {
    throw new Failure(`${kept} is not there any more: the restore cannot be undone`, {
      next: 'restore another backup',
    });
  }
  const aside = free(`${live}_undone_${id}`);
  await replace(live, aside, kept);
  return aside;
}
