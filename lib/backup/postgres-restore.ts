import { posix } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Command, cmd } from '../command.ts';
import type { Compose } from '../compose.ts';
import { EXIT, Failure } from '../failure.ts';
import type { Step } from '../output.ts';
import type { Host } from '../shell.ts';
import { dbname, ident, listed, type Sql, sql } from '../sql.ts';
import type { PostgresAddress } from './addresses.ts';
import { differences, type PostgresPart, type Recovery, type Restored, type Restorer } from './manifest.ts';
import {
  connect,
  connectIfUp,
  countOf,
  explaining,
  openSession,
  readableTables,
  type Server,
} from './postgres.ts';
import { applySettings, createRoles, type Globals, grantStatements, readGlobals } from './postgres-roles.ts';
import { feed, readStored, refuseIfShort, unzstd } from './transfer.ts';

interface Target {
  address: PostgresAddress;
  compose: Compose;
  /** The name that the restored database gets beside the live one. */
  beside: string;
  /** Only `live` is swapped in. A database whose name `--to` gave is never cleared away. */
  for: 'live' | 'to' | 'drill';
}

/** A PostgreSQL database that is restored beside the live one. */
export function postgresRestorer(part: PostgresPart, target: Target, recovery: Recovery): Restorer {
  const { address, compose, beside } = target;
  const { id, host, report } = recovery;
  const file = stagedDump(address, recovery, id);
  // A service that is down is started first; a server that is reached directly is never found down.
  const service = address.via === 'compose' ? address.service : '';
  const up = compose.command('up', '--detach', '--wait', service);
  const inService: typeof cmd = (pieces, ...words) =>
    cmd`${compose.command('exec', '-T', service)} ${cmd(pieces, ...words)}`;
  let server: Server | undefined;
  return {
    part,
    get plan() {
      const by = server ?? { cmd: inService };
      return [
        ...(server ? [] : [up]),
        `get ${recovery.store.address(part.dump.key)}`,
        stageCommand(by, file),
        sql`CREATE DATABASE ${ident(beside)} OWNER ${ident(part.owner)}`.text,
        pgRestore(by, beside, file, '$(nproc)'),
      ];
    },
    prepare: () =>
      explaining(address, async () => {
        shortEnough(beside);
        if (target.for === 'live') besideName(address.database, 'before', id, []);
        server = await connectIfUp(host, compose, address);
        if (server) await refuseUnfit(server, part, target);
      }),
    restoreBeside: (step) =>
      explaining(address, async () => {
        if (!server) {
          await host.run(up);
          report.info(`started the service ${service}, which was down`);
          server = await connect(host, compose, address);
          await refuseUnfit(server, part, target);
        }
        await restoreBeside(server, part, beside, file, recovery, step);
        return restored(server, part, beside, id);
      }),
  };
}

/** @throws Failure when a name that an operator gave is taken, or the server's disk has no room */
async function refuseUnfit(server: Server, part: PostgresPart, target: Target): Promise<void> {
  const { beside } = target;
  if (target.for === 'to' && (await databases(server)).includes(beside)) {
    throw new Failure(`the database ${beside} exists already`, {
      exit: EXIT.usage,
      next: 'choose another name with --to, or drop it',
    });
  }
  const { address, maintenance, $ } = server;
  // The first query of a server that is reached directly: it shows whether it answers.
  const [directory = ''] = await server.rows<string>(
    maintenance,
    sql`SELECT to_json(current_setting('data_directory'))`,
  );
  if (address.via === 'direct') return;
  const [, data, staged] = (await $`df -Pk ${directory} /tmp`.lines()).map(
    (line) => Number(line.split(/\s+/)[3]) * 1024,
  );
  const refuse = (free = Number.NaN, needed: number, where: string) =>
    refuseIfShort(free, needed, `${where} of ${address.uri}`, `restoring ${part.name}`);
  refuse(data, part.bytesIn, directory);
  refuse(staged, part.dump.bytes, '/tmp');
}

async function restoreBeside(
  server: Server,
  part: PostgresPart,
  beside: string,
  file: string,
  recovery: Recovery,
  step: Step,
): Promise<void> {
  const { host, $, address } = server;
  const { dir, base } = posix.parse(stagedDump(address, recovery, '*'));
  const clearStaged = server.cmd`find ${dir} -maxdepth 1 -name ${base} -delete`;
  await Promise.all([clearBeside(server), host.run(clearStaged)]);
  try {
    await stageDump(server, part, file, recovery, step);
    const globals = await readGlobals(part, recovery);
    const schema = () => $`pg_restore --schema-only --file - ${file}`;
    await createRoles(server, globals, part, schema, recovery.report);
    await createDatabase(server, part, beside);
    const database = sql`DATABASE ${ident(beside)}`;
    const apply = (settings: Globals['settings'], of: Sql) =>
      applySettings(server, settings, sql`ALTER ${of}`, recovery.report);
    // A setting must not change how the dump is read. PostgreSQL itself ignores a custom one, and a function of the
    // dump may read it.
    const isCustom = ({ name }: { name: string }) => name.includes('.');
    await apply(globals.settings.filter(isCustom), database);
    const jobs = (await $`nproc`).trim();
    await host.run(pgRestore(server, beside, file, jobs));
    await apply(
      globals.settings.filter((setting) => !isCustom(setting)),
      database,
    );
    for (const { role, settings } of globals.roleSettings)
      await apply(settings, sql`ROLE ${ident(role)} IN ${database}`);
  } catch (error) {
    // The failure to report is the first one; what is left of it is cleared by the next restore.
    await drop(server, beside).catch(() => {});
    throw error;
  } finally {
    await host.uninterrupted.run(server.cmd`rm -f ${file}`).catch(() => {});
  }
}

const pgRestore = (by: Pick<Server, 'cmd'>, database: string, file: string, jobs: string): Command =>
  by.cmd`pg_restore --exit-on-error --jobs ${jobs} ${dbname(database)} ${file}`;

/**
 * Where a dump waits for pg_restore, since several jobs have to seek in one file: in the container, or in the state
 * folder. Two apps of one server may have backups of the same second. Neither `=` nor `*` occurs in an encoded name:
 * with `*` as the id, it is a pattern that matches the dumps of no other database.
 */
function stagedDump({ via, database }: PostgresAddress, { stateDir }: Recovery, id: string): string {
  const name = encodeURIComponent(database).replaceAll('*', '%2A');
  return `${via === 'compose' ? '/tmp' : stateDir}/opsbook-${id}=${name}.dump`;
}

/** Writes its input to a new file, for the owner alone: a link that somebody put in its place is not written through. */
const WRITE = 'umask 077; rm -f "$1"; set -C; cat > "$1"';

/** Writes a dump to `file`, where the server's client programs run. */
export const stageCommand = (by: Pick<Server, 'cmd'>, file: string): Command =>
  by.cmd`sh -c ${WRITE} stage ${file}`;

/** Copies the dump to the server; what arrived is checked against the manifest before anything uses it. */
async function stageDump(
  server: Server,
  part: PostgresPart,
  file: string,
  recovery: Recovery,
  step: Step,
): Promise<void> {
  const onBytes = (done: number) => step.progress({ done, total: part.dump.bytes, unit: 'bytes' });
  await readStored(part.dump, part.name, { ...recovery, onBytes }, async (plain) => {
    const dump = part.compression === 'zstd' ? unzstd(plain) : plain;
    await feed(dump, server.host.start(stageCommand(server, file)));
  });
}

/** Creates the database that a dump is restored into, like the one that was dumped. */
async function createDatabase(server: Server, part: PostgresPart, name: string): Promise<void> {
  const { access, owner, icuLocale, connectionLimit: limit } = part;
  const database = ident(name);
  const icu = icuLocale === null ? sql`` : sql` LOCALE_PROVIDER icu ICU_LOCALE ${icuLocale}`;
  await server.execute(
    server.maintenance,
    dropStatement(name),
    sql`CREATE DATABASE ${database} OWNER ${ident(owner)} TEMPLATE template0 ENCODING ${part.encoding}
      LC_COLLATE ${part.collate} LC_CTYPE ${part.ctype}${icu}`,
    ...(access ? grantStatements(database, access, owner) : []),
    ...(limit === undefined ? [] : [sql`ALTER DATABASE ${database} CONNECTION LIMIT ${limit}`]),
  );
}

/** Drops a database, whoever is connected to it, also after an interruption. */
const drop = ({ uninterrupted, maintenance }: Server, name: string) =>
  uninterrupted.execute(maintenance, dropStatement(name));

const dropStatement = (name: string) => sql`DROP DATABASE IF EXISTS ${ident(name)} WITH (FORCE)`;

/** The database `beside`, which was restored from the backup `id`: to be compared, and swapped in or dropped. */
function restored(server: Server, part: PostgresPart, beside: string, id: string): Restored {
  let kept = '';
  return {
    place: `database ${beside}`,
    compare: async () => differences(part.tables, await countRows(server, beside, part.tables)),
    async swapIn() {
      await server.execute(beside, sql`ANALYZE`);
      kept = await swap(server, beside, 'before', id);
      return kept;
    },
    async swapBack() {
      const live = server.address.database;
      await renameAll(server.uninterrupted, kept ? [beside, live, kept] : [beside, live]);
    },
    discard: () => drop(server, beside),
  };
}

/** The rows of every table, counted as they were for what is expected. */
async function countRows(server: Server, database: string, expected: PostgresPart['tables']) {
  const tables = await readableTables(server, database);
  // Older backups counted the rows of a table's children with its own.
  const older = new Set(expected.filter((t) => t.exact !== undefined).map((t) => t.table));
  const counts = tables.map(({ schema, name }) => {
    const children = older.has(`${schema}.${name}`);
    return children ? sql`SELECT count(*) FROM ${ident(schema, name)}` : countOf(schema, name);
  });
  const rows = await server.rows<number>(database, ...counts);
  return tables.map(({ schema, name }, at) => ({ table: `${schema}.${name}`, rows: rows[at] ?? 0 }));
}

/**
 * Puts `kept` back into the live place, and what was live aside as `<database>_undone_<id>`.
 * @returns that name, or nothing where none was live
 */
export async function undoPostgres(
  address: PostgresAddress,
  compose: Compose,
  { host, id }: { host: Host; id: string },
  kept: string,
): Promise<string> {
  const server = await connect(host, compose, address);
  if (!(await databases(server)).includes(kept)) {
    throw new Failure(`the database ${kept} no longer exists: the restore cannot be undone`, {
      next: 'restore another backup',
    });
  }
  return swap(server, kept, 'undone', id);
}

const databases = ({ rows, maintenance }: Server): Promise<string[]> =>
  rows(maintenance, sql`SELECT to_json(datname) FROM pg_database ORDER BY datname`);

/** PostgreSQL cuts longer names off silently. */
const NAME_BYTES = 63;

/** `<database>_<word>_<id>`, followed by a number where that is taken. @throws Failure when it is too long */
export function besideName(database: string, word: string, id: string, taken: readonly string[]): string {
  const base = `${database}_${word}_${id}`;
  let name = base;
  for (let n = 2; taken.includes(name); n += 1) name = `${base}_${n}`;
  return shortEnough(name);
}

/** @throws Failure for a name that PostgreSQL would cut off */
export function shortEnough(name: string): string {
  if (Buffer.byteLength(name) <= NAME_BYTES) return name;
  throw new Failure(`${name} is longer than the ${NAME_BYTES} bytes of a PostgreSQL name`, {
    next: 'restore beside it: --only PART --to SHORTNAME',
  });
}

/** Drops what killed restores and drills of the database left, unless somebody is connected to it. */
async function clearBeside(server: Server): Promise<void> {
  const { database } = server.address;
  for (const name of await databases(server)) {
    if (!name.startsWith(database) || !LEFT.test(name.slice(database.length))) continue;
    await server.execute(server.maintenance, sql`DROP DATABASE IF EXISTS ${ident(name)}`).catch(() => {});
  }
}

const LEFT = /^_(restore|drill)_\d{8}-\d{6}$/;

/** How long a new round of ending connections waits for the renaming to go through. */
const ROUND_MS = 100;
/** RENAME itself waits 5 s for others to leave; after this many of its tries we give up. */
const TRIES = 6;

/**
 * Puts the database `next` into the live one's place, and that, where there is one, aside as `<database>_<word>_<id>`.
 * What is replaced is what the settings name, never what a manifest says.
 * @returns the name of what was put aside, or nothing
 */
async function swap(server: Server, next: string, word: string, id: string): Promise<string> {
  const live = server.address.database;
  const taken = await databases(server);
  const aside = taken.includes(live) ? besideName(live, word, id, taken) : '';
  // A signal between the renaming and the recording of it would leave a swap that `--undo` does not know.
  await renameAll(server.uninterrupted, aside ? [aside, live, next] : [live, next]);
  return aside;
}

/**
 * Gives each of `names` but the first the name before it, in one transaction: there is no moment without a live
 * database. RENAME holds new connections off while it waits for the old ones, and a second session ends these meanwhile.
 */
async function renameAll(server: Server, names: readonly string[]): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await rename(server, names);
    } catch (error) {
      if (attempt === TRIES || !/being accessed by other users/.test(String(error))) throw error;
    }
  }
}

async function rename(server: Server, [first = '', ...names]: readonly string[]): Promise<void> {
  let over = false;
  const ending = endConnections(server, names, () => over).catch((error: unknown) => error);
  const session = openSession(server, server.maintenance);
  try {
    await session.query(sql`BEGIN`);
    for (const [i, from] of names.entries())
      await session.query(sql`ALTER DATABASE ${ident(from)} RENAME TO ${ident(names[i - 1] ?? first)}`);
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
    await sleep(ROUND_MS);
  }
  await session.end();
}
