import type { Compose } from '../compose.ts';
import { EXIT, Failure } from '../failure.ts';
import type { Step } from '../output.ts';
import { type Command, cmd } from '../shell.ts';
import { dbname, ident, sql } from '../sql.ts';
import type { PostgresAddress } from './addresses.ts';
import {
  differences,
  type PostgresPart,
  type Recovery,
  type Restored,
  type Restorer,
  type TableRows,
} from './manifest.ts';
import {
  connect,
  connectIfUp,
  countOf,
  explained,
  readableTables,
  type Server,
  uninterrupted,
} from './postgres.ts';
import { createDatabase, drop } from './postgres-roles.ts';
import { besideName, clearBeside, databases, shortEnough, swap } from './postgres-swap.ts';
import { feed, readStored, refuseIfShort, unzstd } from './transfer.ts';

/** The rows of every table, counted as they were for what is expected. */
async function countRows(
  server: Server,
  database: string,
  expected: readonly TableRows[],
): Promise<TableRows[]> {
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

/** The database `beside`, which came back from the backup `id`: to be compared, and swapped in or dropped. */
function restored(server: Server, part: PostgresPart, beside: string, id: string): Restored {
  // What is replaced is what the settings name, never what a manifest says.
  const live = server.address.database;
  let kept = '';
  return {
    place: `database ${beside}`,
    compare: async () => differences(part.tables, await countRows(server, beside, part.tables)),
    async swapIn() {
      const taken = await databases(server);
      kept = taken.includes(live) ? besideName(live, 'before', id, taken) : '';
      await server.execute(beside, sql`ANALYZE`);
      // A signal that came between the renaming and our knowing of it would leave a swap that nobody remembers.
      await swap(uninterrupted(server), live, kept, beside);
      return kept;
    },
    async swapBack() {
      const calm = uninterrupted(server);
      if (kept) await swap(calm, live, beside, kept);
      else
        await calm.execute(calm.maintenance, sql`ALTER DATABASE ${ident(live)} RENAME TO ${ident(beside)}`);
    },
    discard: () => drop(server, beside),
  };
}

/** `=` occurs in no encoded name, so that no database's pattern matches the dump of another. */
const stagedName = (database: string, id: string) => `/opsbook-${id}=${encodeURIComponent(database)}.dump`;

/**
 * Where a dump waits for pg_restore, since several jobs have to seek in one file: beside the server, or with its
 * clients in the state folder. Two apps of one server may have backups of the same second.
 */
const stagedDump = ({ via, database }: PostgresAddress, { id, stateDir }: Recovery): string =>
  (via === 'compose' ? '/tmp' : stateDir) + stagedName(database, id);

/** Removes dumps of the database that killed runs left. */
async function clearStaged({ host, command, address }: Server, { stateDir }: Recovery): Promise<void> {
  const folder = address.via === 'compose' ? '/tmp' : stateDir;
  const name = stagedName(address.database, '*');
  await host.run(command('find', folder, '-maxdepth', '1', '-name', name.slice(1), '-delete'));
}

/** Writes its input to a new file, for the owner alone: a link that somebody put in its place is not written through. */
const WRITE = 'umask 077; rm -f "$1"; set -C; cat > "$1"';

export const stageCommand = (server: Server, file: string): Command =>
  server.command('sh', '-c', WRITE, 'stage', file);

/** Brings the dump next to the server; what arrived is held against the manifest before anything uses it. */
async function stageDump(
  server: Server,
  part: PostgresPart,
  file: string,
  recovery: Recovery,
  onBytes: (total: number) => void,
): Promise<void> {
  await readStored(part.dump, part.name, { ...recovery, onBytes }, async (plain) => {
    const dump = part.compression === 'zstd' ? unzstd(plain) : plain;
    await feed(dump, server.host.start(stageCommand(server, file)));
  });
}

/** @throws Failure when the server's disk has no room for the dump and the database */
async function enoughServerSpace(server: Server, part: PostgresPart): Promise<void> {
  const [directory = ''] = await server.rows<string>(
    server.maintenance,
    sql`SELECT to_json(current_setting('data_directory'))`,
  );
  if (server.address.via === 'direct') return;
  const listing = await server.host.run(server.command('df', '-Pk', directory, '/tmp'));
  const [, data, staged] = listing.split('\n').map((line) => Number(line.split(/\s+/)[3]) * 1024);
  const refuse = (free: number | undefined, needed: number, where: string) =>
    refuseIfShort(free ?? Number.NaN, needed, `${where} of ${server.address.uri}`, `restoring ${part.name}`);
  refuse(data, part.bytesIn, directory);
  refuse(staged, part.dump.bytes, '/tmp');
}

interface Target {
  address: PostgresAddress;
  compose: Compose;
  /** The name that the restored database gets beside the live one. */
  beside: string;
  /** Only `live` is swapped in. A name that was given by `--to` is nobody's to clear away. */
  for: 'live' | 'to' | 'drill';
}

/** A PostgreSQL database that comes back beside the live one. */
export function postgresRestorer(part: PostgresPart, target: Target, recovery: Recovery): Restorer {
  const { address, beside } = target;
  const explain = async <T>(act: () => Promise<T>): Promise<T> => {
    try {
      return await act();
    } catch (error) {
      throw explained(error, address);
    }
  };
  const file = stagedDump(address, recovery);
  let server: Server | undefined;
  return {
    part,
    get plan() {
      const by = server ?? absentServer(target);
      return [
        ...(server ? [] : [startCommand(target)]),
        `get ${recovery.store.address(part.dump.key)}`,
        stageCommand(by, file),
        sql`CREATE DATABASE ${ident(beside)} OWNER ${ident(part.owner)}`.text,
        restoreCommand(by, beside, file, '$(nproc)'),
      ];
    },
    async prepare() {
      server = await explain(() => prepare(part, target, recovery));
    },
    restoreBeside: (step) =>
      explain(async () => {
        server ??= await startServer(part, target, recovery);
        return restoreBeside(server, part, target, recovery, step);
      }),
  };
}

const startCommand = ({ address, compose }: Target) =>
  compose.command('up', '--detach', '--wait', address.via === 'compose' ? address.service : '');

/** Stands in a dry run for a server whose service is down: it would be started first. */
function absentServer({ address, compose }: Target): Server {
  const command: Server['command'] = (program, ...args) =>
    address.via === 'compose'
      ? compose.command('exec', '-T', address.service, program, ...args)
      : cmd`${program} ${args}`;
  return { address, command } as Server;
}

async function prepare(part: PostgresPart, target: Target, recovery: Recovery): Promise<Server | undefined> {
  const { address, compose, beside } = target;
  shortEnough(beside);
  if (target.for === 'live') besideName(address.database, 'before', recovery.id, []);
  const server = await connectIfUp(recovery.host, compose, address);
  if (server) await refuseUnfit(server, part, target);
  return server;
}

/** Starts the service that was found down; what could not be looked at before is looked at now. */
async function startServer(part: PostgresPart, target: Target, recovery: Recovery): Promise<Server> {
  const { address, compose } = target;
  await recovery.host.run(startCommand(target));
  if (address.via === 'compose')
    recovery.report.info(`started the service ${address.service}, which was down`);
  const server = await connect(recovery.host, compose, address);
  await refuseUnfit(server, part, target);
  return server;
}

async function refuseUnfit(server: Server, part: PostgresPart, target: Target): Promise<void> {
  await refuseTaken(server, target);
  await enoughServerSpace(server, part);
}

/** @throws Failure when the name that an operator gave is taken: only what a run of ours left may be cleared away */
async function refuseTaken(server: Server, { beside, ...target }: Target): Promise<void> {
  if (target.for !== 'to' || !(await databases(server)).includes(beside)) return;
  throw new Failure(`the database ${beside} exists already`, {
    exit: EXIT.usage,
    next: 'name another one by --to, or drop it',
  });
}

const restoreCommand = (server: Server, database: string, file: string, jobs: string) =>
  server.command('pg_restore', '--exit-on-error', '--jobs', jobs, ...dbname(database), file);

const schemaOf = (server: Server, file: string) =>
  server.host.run(server.command('pg_restore', '--schema-only', '--file', '-', file));

async function restoreBeside(
  server: Server,
  part: PostgresPart,
  { address, beside }: Target,
  recovery: Recovery,
  step: Step,
): Promise<Restored> {
  const { host } = recovery;
  await Promise.all([clearBeside(server, address.database), clearStaged(server, recovery)]);
  const file = stagedDump(address, recovery);
  try {
    await stageDump(server, part, file, recovery, (done) =>
      step.progress({ done, total: part.dump.bytes, unit: 'bytes' }),
    );
    const finish = await createDatabase(server, part, beside, () => schemaOf(server, file), recovery);
    const jobs = (await host.run(server.command('nproc'))).trim();
    await host.run(restoreCommand(server, beside, file, jobs));
    await finish();
  } catch (error) {
    // The failure to report is the first one; what is left of it is cleared by the next restore.
    await drop(server, beside).catch(() => {});
    throw error;
  } finally {
    await host.uninterrupted.run(server.command('rm', '-f', file)).catch(() => {});
  }
  return restored(server, part, beside, recovery.id);
}
