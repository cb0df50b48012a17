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
import { hold, realPath } from './file-system.ts';
import { dateOf } from './id.ts';
import {
  differences,
  type Recovery,
  type Restored,
  type Restorer,
  type Source,
  type SqlitePart,
  type Work,
} from './manifest.ts';
import { enoughSpace, readStored, saveFlow, unzstd, zstd } from './transfer.ts';

type Owner = NonNullable<SqlitePart['owner']>;
const { O_CREAT, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_RDWR } = constants;

/** A SQLite database as a part of a backup: a snapshot of it is taken while the app writes. */
export function sqliteSource(address: SqliteAddress): Source {
  const { name, uri, file } = address;
  const source: Source = {
    ...{ kind: 'sqlite', name, uri },
    async prepare(work) {
      inspect(realPath(file));
      const { size } = await stat(file);
      await enoughSpace(work.stateDir ?? dirname(file), size, `a snapshot of ${file}`);
      const key = `backups/${work.id}/${name}.db.zst${work.encrypter.suffix}`;
      const plan = [`snapshot of ${file}, zstd`, `  → ${work.store.address(key)}`];
      return { source, plan, save: (step) => save(address, key, work, step) };
    },
  };
  return source;
}

async function save(
  { name, uri, file }: SqliteAddress,
  key: string,
  work: Work,
  step: Step,
): Promise<SqlitePart> {
  // The one part that cannot be streamed: a file that is being written has no consistent stream.
  const snapshot = join(work.stateDir ?? dirname(file), `snapshot-${name}.db`);
  try {
    removeDatabase(snapshot);
    closeSync(createFile(snapshot));
    await copyDatabase(realPath(file), snapshot);
    const tables = inspect(snapshot);
    const { size } = await stat(snapshot);
    const content = createReadStream(snapshot, { highWaterMark: 1 << 20 });
    const dump = await saveFlow(zstd(content), key, size * 2, work, (done) =>
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
  /** The file that is restored. */
  beside: string;
  /** A file whose name `--to` gave is never overwritten; nobody else has to read a drill's. */
  for: 'live' | 'to' | 'drill';
}

/** A SQLite database that is restored beside the live one. */
export function sqliteRestorer(part: SqlitePart, target: Target, recovery: Recovery): Restorer {
  const { live, beside } = target;
  return {
    part,
    plan: [`get ${recovery.store.address(part.dump.key)}`, `  → ${beside}`],
    async prepare() {
      if (target.for === 'live') realPath(live);
      if (target.for === 'to' && isThere(beside))
        throw new Failure(`${beside} exists already`, { next: 'choose another name with --to' });
      const directory = dirname(beside);
      if (!existsSync(directory)) {
        throw new Failure(`${part.name}: ${directory} does not exist`, {
          next: `mount it, or create it as the app's user: mkdir -p ${directory}`,
        });
      }
      await enoughSpace(directory, part.bytesIn, `restoring ${part.name}`);
    },
    async restoreBeside(step) {
      try {
        await clearBeside(beside, recovery.id);
        await fetchDatabase(part, beside, recovery, step);
        // A live file stays where it is, and keeps its owner.
        if (target.for === 'to' || (target.for === 'live' && !existsSync(live)))
          await giveToOwner(part, target, recovery);
      } catch (error) {
        removeDatabase(beside);
        throw error;
      }
      return restored(part, target, recovery.id);
    },
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

async function fetchDatabase(
  { dump, name }: SqlitePart,
  beside: string,
  recovery: Recovery,
  step: Step,
): Promise<void> {
  const onBytes = (done: number) => step.progress({ done, total: dump.bytes, unit: 'bytes' });
  await readStored(dump, name, { ...recovery, onBytes }, async (plain) => {
    const file = createWriteStream(beside, { fd: createFile(beside) });
    const content = Readable.from(unzstd(plain), { objectMode: false });
    await pipeline(content, file, { signal: recovery.signal });
  });
}

function restored(part: SqlitePart, { live, beside }: Target, id: string): Restored {
  let kept = '';
  return {
    place: beside,
    compare: async () => differences(part.tables, inspect(beside)),
    async swapIn() {
      kept = await replace(live, beside, 'before', id);
      return kept;
    },
    async swapBack() {
      if (kept) await copyDatabase(ownFile(kept), realPath(live));
    },
    discard: async () => removeDatabase(beside),
  };
}

/** Puts `kept` back into the live place. @returns the file that has what was live, or nothing where there was none */
export async function undoSqlite(live: string, kept: string, id: string): Promise<string> {
  if (!existsSync(kept)) {
    throw new Failure(`${kept} no longer exists: the restore cannot be undone`, {
      next: 'restore another backup',
    });
  }
  return replace(live, kept, 'undone', id);
}

/**
 * Keeps the live database as `<file>_<word>_<id>` and gives it the content of `next`, through SQLite: who has it open
 * sees the new content in the next transaction. A file that is no longer a database is moved away instead.
 * @returns the file that was kept, or nothing where none was live
 */
async function replace(live: string, next: string, word: string, id: string): Promise<string> {
  const kept = free(`${live}_${word}_${id}`);
  ownFile(next);
  if (!existsSync(live)) {
    moveIn(live, kept, next);
    return '';
  }
  const file = realPath(live);
  const was = await stat(file);
  const handle = createFile(kept);
  try {
    await copyDatabase(file, kept);
    await copyDatabase(next, file);
    setOwner(handle, was);
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
  return kept;
}

/** Renames `next` to where no `live` is. What SQLite kept beside one that was there would be taken for its own. */
function moveIn(live: string, kept: string, next: string): void {
  const aside = besideOf(kept);
  for (const [i, file] of besideOf(live).entries()) if (isThere(file)) move(file, aside[i] as string);
  move(next, live);
  removeDatabase(next);
}

/** How long we wait for the app's write locks. */
const BUSY_MS = 30_000;
/** What node:sqlite says of a destination that somebody else has locked: SQLite's code for it is not passed on. */
const LOCKED = 'not an error';
const RETRY_MS = 10;
/** All pages in one step: what other processes write meanwhile would start the copy again. */
const ALL_PAGES = 2 ** 31 - 1;

/** Copies a database that others write to, as of one moment; an existing `to` gets the content, and so do its connections. */
async function copyDatabase(from: string, to: string): Promise<void> {
  const database = open(from);
  const deadline = Date.now() + BUSY_MS;
  try {
    for (;;) {
      // Unlike a connection of ours, the one that node:sqlite makes to the destination does not wait for its lock.
      const outcome = await backup(database, to, { rate: ALL_PAGES }).catch((error: Error) => error);
      if (!(outcome instanceof Error)) return;
      if (messageOf(outcome) !== LOCKED || Date.now() > deadline) throw outcome;
      await sleep(RETRY_MS);
    }
  } catch (error) {
    const said = messageOf(error) === LOCKED ? `locked for ${duration(BUSY_MS)}` : messageOf(error);
    throw new Failure(`${from} → ${to}: ${said}`, { next: 'end what holds its lock, and try again' });
  } finally {
    database.close();
  }
}

/**
 * Reads a database through: the rows of every table.
 * @throws Failure when SQLite's own check finds it damaged
 */
function inspect(file: string): SqlitePart['tables'] {
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
    const next = 'check that it is a SQLite database';
    throw new Failure(`${file}: ${messageOf(error)}`, { next, cause: error });
  } finally {
    database.close();
  }
}

function open(file: string): DatabaseSync {
  try {
    return new DatabaseSync(file, { readOnly: true, timeout: BUSY_MS });
  } catch (error) {
    const next = 'check the path in BACKUP_DATABASES';
    throw new Failure(`${file}: ${messageOf(error)}`, { next, cause: error });
  }
}

/** Files that SQLite keeps beside a database. Those of another would be taken for changes to this one. */
const besideOf = (file: string): string[] => ['-wal', '-shm', '-journal'].map((end) => file + end);

/** Removes a copy of ours, and the files that SQLite keeps beside it: reading one in WAL mode creates them. */
function removeDatabase(file: string): void {
  if (!existsSync(dirname(file))) return;
  for (const name of [file, ...besideOf(file)]) inDirectoryOf(name, (own) => rmSync(own, { force: true }));
}

/** Calls `act` with a path of the file that stays right whatever becomes of its directory's own path. */
function inDirectoryOf<T>(file: string, act: (own: string) => T): T {
  const held = hold(realPath(dirname(file)));
  try {
    return act(`${held.at}/${basename(file)}`);
  } finally {
    held.release();
  }
}

/** Creates an empty file for its owner alone, which SQLite can fill. @throws EEXIST, also for a link */
const createFile = (file: string): number =>
  inDirectoryOf(file, (own) => openSync(own, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600));

/** Renames a file in its directory. */
const move = (from: string, to: string) =>
  inDirectoryOf(from, (own) => renameSync(own, join(dirname(own), basename(to))));

/** Also true of a link that leads nowhere: writing to it would create what it names. */
const isThere = (path: string) => lstatSync(path, { throwIfNoEntry: false }) !== undefined;

function free(base: string): string {
  let name = base;
  for (let n = 2; isThere(name); n += 1) name = `${base}_${n}`;
  return name;
}

/** What SQLite will read becomes the app's: no link may stand for it. */
function ownFile(file: string): string {
  if (lstatSync(file).isFile()) return file;
  throw new Failure(`${file} is not a regular file: not used`, {
    next: 'find out who created it, and remove it',
  });
}

/** Gives what was restored to its owner, and warns where that user cannot use it. */
async function giveToOwner(part: SqlitePart, { live, beside }: Target, { report }: Recovery): Promise<void> {
  const owner = await ownerOf(part, live);
  give(beside, owner);
  const warning = await unusable(beside, owner);
  if (warning) report.warn(`${part.name}: ${warning}`);
}

/** The live file's owner; else the backup's; else, for older backups, the directory's, and that user's alone. */
async function ownerOf({ owner }: SqlitePart, live: string): Promise<Owner> {
  const known = (await stat(live).catch(() => undefined)) ?? owner;
  if (known) return known;
  const { uid, gid } = await stat(dirname(live));
  return { uid, gid, mode: 0o600 };
}

/** Gives a file of ours to its owner. */
function give(file: string, owner: Owner): void {
  const handle = inDirectoryOf(file, (own) => openSync(own, O_RDONLY | O_NOFOLLOW | O_NONBLOCK));
  try {
    const { uid, nlink } = fstatSync(handle);
    if (nlink > 1 || (uid !== owner.uid && uid !== process.geteuid?.()))
      throw new Failure(`${file} is no longer what was restored: not given to its owner`, {
        next: `find out who changed it: ls -l ${file}`,
      });
    setOwner(handle, owner);
  } finally {
    closeSync(handle);
  }
}

function setOwner(handle: number, { uid, gid, mode }: Owner): void {
  if (process.getuid?.() === 0) fchownSync(handle, uid, gid);
  fchmodSync(handle, mode & 0o777);
}

/** What keeps the owner from using a file that was given to them; undefined where nothing does. */
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
