import { hostname } from 'node:os';
import { createInterface } from 'node:readline';
import type { Compose } from '../compose.ts';
import { EXIT, Failure } from '../failure.ts';
import { type Command, CommandFailure, cmd, type Host, type Running } from '../shell.ts';
import { asInput, dbname, ident, PSQL, type Sql, session, sql } from '../sql.ts';
import type { PostgresAddress } from './addresses.ts';
import type { TableRows } from './manifest.ts';

/** A PostgreSQL server, and how its client programs are run against it. */
export interface Server {
  readonly address: PostgresAddress;
  /** A database that is always there and is not the address's, to speak from about that one and others. */
  readonly maintenance: string;
  /** A client program with its arguments; for a compose service it runs in the service's container. */
  command(program: string, ...args: string[]): Command;
  /** The rows that statements give in `database`, each a JSON value: queries must have one column of type json. */
  rows<T>(database: string, ...statements: Sql[]): Promise<T[]>;
  /** Runs statements one by one in `database`, each in a transaction of its own, the first error ends it. */
  execute(database: string, ...statements: Sql[]): Promise<void>;
  readonly host: Host;
}

/** The database to speak from about others: nobody who is connected to one may rename or drop it. */
const maintenanceOf = ({ database }: PostgresAddress) => (database === 'postgres' ? 'template1' : 'postgres');

/** What the sessions of this run are called in pg_stat_activity. */
const SESSIONS = `opsbook-${hostname()}-${process.pid}`.slice(0, 63);

/**
 * Ends what this run has still open in the server: a docker CLI that is ended leaves its program running in the
 * container, where a pg_dump may wait for a lock.
 */
export async function endSessions(server: Server): Promise<void> {
  const end = sql`SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE application_name = ${SESSIONS} AND pid <> pg_backend_pid()`;
  await uninterrupted(server).execute(server.maintenance, end);
}

/**
 * Connects to where `address` points.
 * @throws Failure when the service does not run or the server does not answer
 */
export async function connect(host: Host, compose: Compose, address: PostgresAddress): Promise<Server> {
  const server = await connectIfUp(host, compose, address);
  if (server) return server;
  const service = address.via === 'compose' ? address.service : '';
  throw new Failure(`${address.uri}: the service ${service} does not run`, {
    next: `docker compose up --detach ${service}`,
  });
}

/** The same, or undefined where the service does not run. */
export async function connectIfUp(
  host: Host,
  compose: Compose,
  address: PostgresAddress,
): Promise<Server | undefined> {
  const command = await commandFor(host, compose, address);
  return command && serverOn(host, address, command);
}

/** The same server, spoken to by commands that an interruption does not end. */
export const uninterrupted = ({ host, address, command }: Server): Server =>
  serverOn(host.uninterrupted, address, command);

function serverOn(host: Host, address: PostgresAddress, command: Server['command']): Server {
  const psql = (database: string, statements: readonly Sql[]) =>
    host.run(command(...PSQL, ...dbname(database)), session(...statements));
  return {
    host,
    address,
    maintenance: maintenanceOf(address),
    command,
    async rows<T>(database: string, ...statements: Sql[]) {
      const lines = (await psql(database, statements)).split('\n');
      return lines.filter(Boolean).map((line) => JSON.parse(line) as T);
    },
    async execute(database, ...statements) {
      await psql(database, statements);
    },
  };
}

async function commandFor(
  host: Host,
  compose: Compose,
  address: PostgresAddress,
): Promise<Server['command'] | undefined> {
  if (address.via === 'direct') {
    const env = { PGCONNECT_TIMEOUT: '10', PGAPPNAME: SESSIONS, ...address.env };
    return (program, ...args) => ({ ...cmd`${program} ${args}`, env });
  }
  const container = await compose.container(address.service);
  if (!container) return undefined;
  const user = address.user ?? (await superuser(host, container));
  const env = ['--env', `PGUSER=${user}`, '--env', `PGAPPNAME=${SESSIONS}`];
  return (program, ...args) => ({
    ...cmd`docker exec --interactive ${env} ${container} ${MARKED} ${program} ${args}`,
    marker: MARKER,
  });
}

/**
 * A docker CLI that is ended by a signal exits with 0 (28.2), whatever becomes of the program: only what the container
 * says tells that a dump is whole.
 */
const MARKER = 'opsbook: done';
const MARKED = ['sh', '-c', '"$@" && echo "$0" >&2', MARKER];

/** The image's superuser is what its environment says, and only by default "postgres". */
async function superuser(host: Host, container: string): Promise<string> {
  const format = '{{range .Config.Env}}{{println .}}{{end}}';
  const env = await host.run(cmd`docker inspect --format ${format} ${container}`);
  return /^POSTGRES_USER=(.+)$/m.exec(env)?.[1] ?? 'postgres';
}

/** A psql that stays open, so that a transaction and its snapshot live as long as we need them. */
export interface Session {
  /** The lines that statements give. @throws Failure with psql's own words when the session ended */
  query(...statements: Sql[]): Promise<string[]>;
  /** Commits nothing: closes the connection. */
  end(): Promise<void>;
}

/** Says that a query's output is complete; no row of ours can look like it. */
const END = '\u0004opsbook';

export function openSession(server: Server, database: string): Session {
  const psql = server.host.start(server.command(...PSQL, ...dbname(database)));
  const lines = createInterface({ input: psql.stdout })[Symbol.asyncIterator]();
  psql.stdin.write(session());
  return {
    query: (...statements) => ask(psql, lines, statements),
    async end() {
      psql.stdin.end();
      await psql.done;
    },
  };
}

async function ask(
  psql: Running,
  lines: AsyncIterator<string>,
  statements: readonly Sql[],
): Promise<string[]> {
  psql.stdin.write(asInput([...statements, sql`SELECT ${END}`]));
  const answer: string[] = [];
  for (;;) {
    const { done, value } = await lines.next();
    if (done) {
      await psql.done;
      throw new Error('psql ended in the middle of a session');
    }
    if (value === END) return answer;
    answer.push(value);
  }
}

/** How long is waited for a lock that DDL of the app holds. */
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
 * The tables of a database that a dump has rows of.
 * @throws Failure naming those that the role may not read
 */
export async function readableTables(server: Server, database: string): Promise<Table[]> {
  const tables = await server.rows<Table>(database, TABLES);
  const barred = tables.filter((table) => !table.readable).map(({ schema, name }) => `${schema}.${name}`);
  if (barred.length > 0) {
    const more = barred.length > 5 ? ` and ${barred.length - 5} more` : '';
    throw new Failure(`${server.address.uri}: may not read ${barred.slice(0, 5).join(', ')}${more}`, {
      next: 'GRANT pg_read_all_data TO the role of the backup',
    });
  }
  return tables;
}

/** The rows that a dump has of a table: those of its children are theirs, and may be on another server. */
export const countOf = (schema: string, name: string): Sql =>
  sql`SELECT count(*) FROM ONLY ${ident(schema, name)}`;

/** A snapshot of a database that pg_dump can take over, so that what is counted is what is dumped. */
export interface Snapshot {
  readonly id: string;
  /** Counts the rows of every table, as the snapshot sees them. */
  count(): Promise<TableRows[]>;
  close(): Promise<void>;
}

export async function exportSnapshot(server: Server, database: string): Promise<Snapshot> {
  const session = openSession(server, database);
  // Row security would hide rows from a count without a word; off, it is an error, as it is for pg_dump.
  await session.query(
    sql`SET row_security = off`,
    sql`SET lock_timeout = ${LOCK_WAIT}`,
    sql`BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY`,
  );
  const [id = ''] = await session.query(sql`SELECT pg_export_snapshot()`);
  const tables = (await session.query(TABLES)).map((line) => JSON.parse(line) as Table);
  return {
    id,
    async count() {
      const counted: TableRows[] = [];
      for (const { schema, name } of tables) {
        const [rows] = await session.query(countOf(schema, name));
        counted.push({ table: `${schema}.${name}`, rows: Number(rows) });
      }
      return counted;
    },
    close: () => session.end(),
  };
}

/** Makes of what psql or pg_dump said a failure that names the database and what to do. */
export function explained(error: unknown, { uri, database, via }: PostgresAddress): unknown {
  if (!(error instanceof CommandFailure)) return error;
  // pg_dump quotes the server in a line of its own, behind what it was doing.
  const quoted = /Error message from server: (.+)/.exec(error.stderr)?.[1];
  const words = quoted ? `${error.message.replace(/[.]$/, '')}: ${quoted}` : error.message;
  const known: Array<[RegExp, string]> = [
    [/database .* does not exist/, 'correct the name in BACKUP_DATABASES'],
    [/password authentication failed|no password supplied/, 'correct the password in BACKUP_DATABASES'],
    [/role .* does not exist/, 'correct the user in BACKUP_DATABASES'],
    [
      /could not connect|connection .* failed|could not translate|timeout expired/i,
      'see that the server runs',
    ],
    [
      /terminating connection|server closed the connection|was killed|exited with 137/,
      'see the log of the database, then run it again',
    ],
    [/lock timeout/, 'see who holds a lock (pg_locks): a migration, VACUUM FULL; then run it again'],
    [/permission denied/, 'grant it: GRANT pg_read_all_data TO the role of the backup'],
    [
      /command not found/,
      via === 'direct' ? "install the server's client: postgresql-client" : 'install Docker',
    ],
  ];
  const match = known.find(([pattern]) => pattern.test(words));
  if (!match) return new Failure(`${uri}: ${words}`, { next: error.next ?? '', cause: error });
  const usage = /does not exist|password/.test(words);
  return new Failure(`${uri}: ${words.replace(/^.*?(error|FATAL): +/i, '')} (database ${database})`, {
    next: match[1],
    exit: usage ? EXIT.usage : EXIT.failed,
    cause: error,
  });
}
