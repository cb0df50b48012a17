import type { Compose } from '../compose.ts';
import { Failure } from '../failure.ts';
import type { Host } from '../shell.ts';
import { ident, listed, sql } from '../sql.ts';
import type { PostgresAddress } from './addresses.ts';
import { connect, openSession, type Server, uninterrupted } from './postgres.ts';

/** PostgreSQL cuts longer names off without a word. */
const NAME_BYTES = 63;
/** How long a new round of ending connections waits for the renaming to go through. */
const ROUND_MS = 100;
/** RENAME itself waits 5 s for others to leave; more than this many of its tries means that they will not. */
const TRIES = 6;

export async function databases(server: Server): Promise<string[]> {
  return server.rows<string>(
    server.maintenance,
    sql`SELECT to_json(datname) FROM pg_database ORDER BY datname`,
  );
}

/** `<database>_<word>_<id>`, with a number behind it where that is taken. @throws Failure when it is too long */
export function besideName(database: string, word: string, id: string, taken: readonly string[]): string {
  const base = `${database}_${word}_${id}`;
  let name = base;
  for (let n = 2; taken.includes(name); n += 1) name = `${base}_${n}`;
  return shortEnough(name);
}

/** @throws Failure for a name that PostgreSQL would make another one of */
export function shortEnough(name: string): string {
  if (Buffer.byteLength(name) <= NAME_BYTES) return name;
  throw new Failure(`${name} is longer than the ${NAME_BYTES} bytes of a PostgreSQL name`, {
    next: 'restore beside it: --only PART --to SHORTNAME',
  });
}

/** Drops what killed restores and drills of `database` left, unless somebody is connected to it. */
export async function clearBeside(server: Server, database: string): Promise<void> {
  for (const name of await databases(server)) {
    const [, id = ''] = /_(?:restore|drill)_(\d{8}-\d{6})$/.exec(name) ?? [];
    if (![`${database}_restore_${id}`, `${database}_drill_${id}`].includes(name)) continue;
    await server.execute(server.maintenance, sql`DROP DATABASE IF EXISTS ${ident(name)}`).catch(() => {});
  }
}

/**
 * Renames `live` to `keep` and `next` to `live`, in one transaction: there is no moment without a `live`. RENAME
 * holds new connections off while it waits for the old ones, and these are ended meanwhile from a second session.
 */
export async function swap(server: Server, live: string, keep: string, next: string): Promise<void> {
  const exists = (await databases(server)).includes(live);
  const renames = exists
    ? [
        [live, keep],
        [next, live],
      ]
    : [[next, live]];
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await rename(server, renames as Array<[string, string]>);
    } catch (error) {
      if (attempt === TRIES || !/being accessed by other users/.test(String(error))) throw error;
    }
  }
}

async function rename(server: Server, renames: ReadonlyArray<[string, string]>): Promise<void> {
  let over = false;
  const names = renames.map(([from]) => from);
  const ending = endConnections(server, names, () => over).catch((error: unknown) => error);
  const session = openSession(server, server.maintenance);
  try {
    await session.query(sql`BEGIN`);
    for (const [from, to] of renames)
      await session.query(sql`ALTER DATABASE ${ident(from)} RENAME TO ${ident(to)}`);
    await session.query(sql`COMMIT`);
    await session.end();
  } catch (error) {
    over = true;
    // That connections could not be ended is why it could not be renamed.
    throw (await ending) ?? error;
  } finally {
    over = true;
    await ending;
  }
}

/** Ends the connections to databases, again and again: applications come back at once. */
async function endConnections(server: Server, names: readonly string[], over: () => boolean): Promise<void> {
  const session = openSession(server, server.maintenance);
  const end = sql`SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
    WHERE datname IN (${listed(names.map((name) => sql`${name}`))})`;
  while (!over()) {
    await session.query(end);
    await new Promise((resolve) => setTimeout(resolve, ROUND_MS));
  }
  await session.end();
}

/** Puts `kept` back into the live place, and what was live aside as `<database>_undone_<id>`; returns that name, or nothing where none was live. */
export async function undoPostgres(
  address: PostgresAddress,
  compose: Compose,
  { host, id }: { host: Host; id: string },
  kept: string,
): Promise<string> {
  const server = await connect(host, compose, address);
  const taken = await databases(server);
  if (!taken.includes(kept)) {
    throw new Failure(`the database ${kept} is not there any more: the restore cannot be undone`, {
      next: 'restore another backup',
    });
  }
  const { database } = address;
  const aside = taken.includes(database) ? besideName(database, 'undone', id, taken) : '';
  await swap(uninterrupted(server), database, aside, kept);
  return aside;
}
