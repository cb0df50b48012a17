import { constants, createReadStream, existsSync, openSync, rmSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import { backup, DatabaseSync } from 'node:sqlite';
import { setTimeout as sleep } from 'node:timers/promises';
import { Failure, messageOf } from '../../failure.ts';
import { duration } from '../../format.ts';
import { ident, sql } from '../../sql.ts';
import { realPath } from '../files/places.ts';
import { hold } from '../files/swap.ts';
import type { TableRows } from '../manifest.ts';
import type { Flow } from '../seal.ts';

/** How long we wait for the app's write locks. */
const BUSY_MS = 30_000;
/** What node:sqlite says of a destination that somebody else has locked: SQLite's code for it is not passed on. */
const LOCKED = 'not an error';
const RETRY_MS = 10;
/** All pages in one step: what other processes write meanwhile would start the copy anew. */
const ALL_PAGES = 2 ** 31 - 1;

/** Copies a database that others write to, as of one moment; an existing `to` gets the content, connections and all. */
export async function copyDatabase(from: string, to: string): Promise<void> {
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
export function inspect(file: string): TableRows[] {
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
export function createFile(file: string): number {
  const { O_RDWR, O_CREAT, O_EXCL, O_NOFOLLOW } = constants;
  return inDirectoryOf(file, (own) => openSync(own, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600));
}

/** Does something by a path of a file that leads to its directory, whatever becomes of that directory's own path. */
export function inDirectoryOf<T>(file: string, act: (own: string) => T): T {
  const held = hold(realPath(dirname(file)));
  try {
    return act(`${held.at}/${basename(file)}`);
  } finally {
    held.release();
  }
}

/** Removes a copy of ours with what SQLite keeps beside a database: to read one in WAL mode makes these. */
export function removeDatabase(file: string): void {
  if (!existsSync(dirname(file))) return;
  for (const name of [file, ...besideOf(file)]) inDirectoryOf(name, (own) => rmSync(own, { force: true }));
}

/** What SQLite keeps beside a database. Of another database than `file`, it would be taken for changes to this one. */
export const besideOf = (file: string): string[] => ['-wal', '-shm', '-journal'].map((end) => file + end);

export const readFlow = (file: string): Flow => createReadStream(file, { highWaterMark: 1 << 20 });
