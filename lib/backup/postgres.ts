import { hostname } from 'node:os';
import { createInterface } from 'node:readline';
import { type Command, CommandFailure, cmd } from '../command.ts';
import type { Compose } from '../compose.ts';
import { EXIT, Failure } from '../failure.ts';
import { type Host, type Shell, shellOf } from '../shell.ts';
import { asInput, ident, psql, type Sql, session, sql } from '../sql.ts';
import { type PostgresAddress, some } from './addresses.ts';
import type { TableRows } from './manifest.ts';

/** A PostgreSQL server. Its client programs run in the container of a compose service, or on the host. */
export interface Server {
  readonly address: PostgresAddress;
  readonly host: Host;
  /** The same server; an interruption does not end its commands. */
  readonly uninterrupted: Server;
  /** A database that always exists and is not the address's: nobody connected to one may rename or drop it. */
  readonly maintenance: string;
  /** A command, as the host runs it where the client programs are: `` server.cmd`pg_dump --dbname ${name}` ``. */
  readonly cmd: typeof cmd;
  /** Runs such a command, one that only looks. */
  readonly $: Shell;
  /** The rows that statements give in `database`, each a JSON value: queries must have one column of type json. */
  rows<T>(database: string, ...statements: Sql[]): Promise<T[]>;
  /** Runs statements one by one in `database`, each in its own transaction; the first error ends it. */
  execute(database: string, ...statements: Sql[]): Promise<void>;
}

/** Turns a client's command into the one that the host runs. */
type Inside = (command: Command) => Command;

/**
 * Connects to where `address` points.
 * @throws Failure when the service is not running or the server does not answer
 */
export async function connect(host: Host, compose: Compose, address: PostgresAddress): Promise<Server> {
  const server = await connectIfUp(host, compose, address);
  if (server) return server;
  const service = address.via === 'compose' ? address.service : '';
  throw new Failure(`${address.uri}: the service ${service} is not running`, {
    next: `docker compose up --detach ${service}`,
  });
}

/** The same, or undefined where the service is not running. */
export async function connectIfUp(
  host: Host,
  compose: Compose,
  address: PostgresAddress,
): Promise<Server | undefined> {
  if (address.via === 'direct') {
    const env = { PGCONNECT_TIMEOUT: '10', PGAPPNAME: SESSIONS, ...address.env };
    return serverOn(host, address, (command) => ({ ...command, env }));
  }
  const container = await compose.container(address.service);
  if (!container) return undefined;
  const user = address.user ?? (await superuser(host, container));
  const env = ['--env', `PGUSER=${user}`, '--env', `PGAPPNAME=${SESSIONS}`];
  return serverOn(host, address, (command) => ({
    ...cmd`docker exec --interactive ${env} ${container} sh -c ${THEN_MARK} ${MARKER} ${command}`,
    marker: MARKER,
  }));
}

/** What the sessions of this run are called in pg_stat_activity. */
const SESSIONS = `opsbook-${hostname()}-${process.pid}`.slice(0, 63);

/**
 * A docker CLI that is ended by a signal exits with 0 (28.2), whatever becomes of the program: only this line, which
 * the container writes, proves that a dump is whole.
 */
const MARKER = 'opsbook: done';
const THEN_MARK = '"$@" && echo "$0" >&2';

/** The image's superuser: its environment names it, the default is "postgres". */
async function superuser(host: Host, container: string): Promise<string> {
  const format = '{{range .Config.Env}}{{println .}}{{end}}';
  const env = await host.$`docker inspect --format ${format} ${container}`;
  return /^POSTGRES_USER=(.+)$/m.exec(env)?.[1] ?? 'postgres';
}

function serverOn(host: Host, address: PostgresAddress, inside: Inside): Server {
  const query = (database: string, statements: readonly Sql[]) =>
    host.run(inside(psql(database)), session(...statements));
  return {
    ...{ host, address },
    maintenance: address.database === 'postgres' ? 'template1' : 'postgres',
    get uninterrupted() {
      return serverOn(host.uninterrupted, address, inside);
    },
    cmd: (pieces, ...words) => inside(cmd(pieces, ...words)),
    $: shellOf((command, input) => host.run(inside(command), input)),
    async rows<T>(database: string, ...statements: Sql[]) {
      const lines = (await query(database, statements)).split('\n');
      return lines.filter(Boolean).map((line) => JSON.parse(line) as T);
    },
    async execute(database, ...statements) {
      await query(database, statements);
    },
  };
}

/**
 * Ends what this run has still open in the server: a docker CLI that is ended leaves its program running in the
 * container, where a pg_dump may wait for a lock.
 */
export async function endSessions({ uninterrupted, maintenance }: Server): Promise<void> {
  const end = sql`SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE application_name = ${SESSIONS} AND pid <> pg_backend_pid()`;
  await uninterrupted.execute(maintenance, end);
}

/** Marks the end of a query's output; no row of ours can look like it. */
const END = '\u0004opsbook';

/**
 * Opens a psql that stays open until it is ended: a transaction and its snapshot live as long. `query` gives the lines
 * that statements give; `end` closes the connection and commits nothing.
 * @throws Failure with psql's own words, from either, when the session ended before
 */
export function openSession(server: Server, database: string) {
  const { stdin, stdout, done } = server.host.start(server.cmd`${psql(database)}`);
  const lines = createInterface({ input: stdout })[Symbol.asyncIterator]();
  stdin.write(session());
  return {
    async query(...statements: Sql[]): Promise<string[]> {
      stdin.write(asInput([...statements, sql`SELECT ${END}`]));
      const answer: string[] = [];
      for (;;) {
        const line = await lines.next();
        if (line.done) {
          await done;
          throw new Error('psql ended in the middle of a session');
        }
        if (line.value === END) return answer;
        answer.push(line.value);
      }
    },
    async end(): Promise<void> {
      stdin.end();
      await done;
    },
  };
}

/** How long we wait for a lock that the app's DDL holds. */
export const LOCK_WAIT = '60s';

interface Table {
  schema: string;
  name: string;
  readable: boolean;
}

const TABLES = sql`
  SELECT json_build_object(
    'schema', n.nspname, 'name', c.relname, 'readable', has_table_privilege(c.oid, 'SELECT'))
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relkind = 'r' AND c.relpersistence <> 't'
    AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
    AND NOT EXISTS (SELECT FROM pg_depend d
      WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
  ORDER BY n.nspname, c.relname`;

/**
 * The tables of a database whose rows a dump has.
 * @throws Failure naming those that the role may not read
 */
export async function readableTables(server: Server, database: string): Promise<Table[]> {
  const tables = await server.rows<Table>(database, TABLES);
  const barred = tables.filter((table) => !table.readable).map(({ schema, name }) => `${schema}.${name}`);
  if (barred.length === 0) return tables;
  throw new Failure(`${server.address.uri}: the role may not read ${some(barred)}`, {
    next: 'GRANT pg_read_all_data TO the role of the backup',
  });
}

/** Counts the rows that a dump has of a table: its children's belong to them, and may be on another server. */
export const countOf = (schema: string, name: string): Sql =>
  sql`SELECT count(*) FROM ONLY ${ident(schema, name)}`;

/**
 * Exports a snapshot of a database, which lasts until it is closed. pg_dump can take it over by its id; `count` counts
 * the rows of every table as the snapshot sees them: what is counted is what is dumped.
 */
export async function exportSnapshot(server: Server, database: string) {
  const { query, end } = openSession(server, database);
  // Row security would silently hide rows from a count; off, it is an error, as it is for pg_dump.
  await query(
    sql`SET row_security = off`,
    sql`SET lock_timeout = ${LOCK_WAIT}`,
    sql`BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY`,
  );
  const [id = ''] = await query(sql`SELECT pg_export_snapshot()`);
  const tables = (await query(TABLES)).map((line) => JSON.parse(line) as Table);
  return {
    id,
    async count(): Promise<TableRows[]> {
      const counted: TableRows[] = [];
      for (const { schema, name } of tables) {
        const [rows] = await query(countOf(schema, name));
        counted.push({ table: `${schema}.${name}`, rows: Number(rows) });
      }
      return counted;
    },
    close: end,
  };
}

/** Runs `act`. @throws in place of a command's failure, one that names the database and what to do */
export async function explaining<T>(address: PostgresAddress, act: () => Promise<T>): Promise<T> {
  try {
    return await act();
  } catch (error) {
    throw error instanceof CommandFailure ? explained(error, address) : error;
  }
}

const KNOWN: Array<[RegExp, string]> = [
  [/database .* does not exist/, 'correct the name in BACKUP_DATABASES'],
  [/password authentication failed|no password supplied/, 'correct the password in BACKUP_DATABASES'],
  [/role .* does not exist/, 'correct the user in BACKUP_DATABASES'],
  [
    /could not connect|connection .* failed|could not translate|timeout expired/i,
    'check that the server is running',
  ],
  [
    /terminating connection|server closed the connection|was killed|exited with 137/,
    'check the log of the database, then run it again',
  ],
  [
    /lock timeout/,
    'find out who holds a lock (pg_locks), such as a migration or VACUUM FULL, then run it again',
  ],
  [/permission denied/, 'grant it: GRANT pg_read_all_data TO the role of the backup'],
  [/docker: command not found/, 'install Docker'],
  [/command not found/, "install the server's client: postgresql-client"],
];

function explained(error: CommandFailure, { uri, database }: PostgresAddress): Failure {
  // pg_dump quotes the server's error on a line of its own, after what it was doing.
  const quoted = /Error message from server: (.+)/.exec(error.stderr)?.[1];
  const words = quoted ? `${error.message.replace(/[.]$/, '')}: ${quoted}` : error.message;
  const next = KNOWN.find(([pattern]) => pattern.test(words))?.[1];
  if (!next) return new Failure(`${uri}: ${words}`, { next: error.next ?? '', cause: error });
  return new Failure(`${uri}: ${words.replace(/^.*?(error|FATAL): +/i, '')} (database ${database})`, {
    next,
    exit: /does not exist|password/.test(words) ? EXIT.usage : EXIT.failed,
    cause: error,
  });
}
