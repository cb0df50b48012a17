import { hostname } from 'node:os';
import type { Command } from '../../command.ts';
import type { Compose } from '../../compose.ts';
import { Failure } from '../../failure.ts';
import type { Host } from '../../host.ts';
import { dbname, PSQL, type Sql, session, sql } from '../../sql.ts';
import type { PostgresAddress } from './address.ts';

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
    return (program, ...args) => ({ argv: [program, ...args], env });
  }
  const container = await compose.container(address.service);
  if (!container) return undefined;
  const user = address.user ?? (await superuser(host, container));
  const env = ['--env', `PGUSER=${user}`, '--env', `PGAPPNAME=${SESSIONS}`];
  return (program, ...args) => ({
    argv: ['docker', 'exec', '--interactive', ...env, container, ...WITNESSED, program, ...args],
    witness: WITNESS,
  });
}

/**
 * A docker CLI that is ended by a signal exits with 0 (28.2), whatever becomes of the program: only what the container
 * says tells that a dump is whole.
 */
const WITNESS = 'opsbook: done';
const WITNESSED = ['sh', '-c', '"$@" && echo "$0" >&2', WITNESS];

/** The image's superuser is what its environment says, and only by default "postgres". */
async function superuser(host: Host, container: string): Promise<string> {
  const format = '{{range .Config.Env}}{{println .}}{{end}}';
  const env = await host.run({ argv: ['docker', 'inspect', '--format', format, container] });
  return /^POSTGRES_USER=(.+)$/m.exec(env)?.[1] ?? 'postgres';
}
