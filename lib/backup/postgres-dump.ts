import { Readable } from 'node:stream';
import type { Compose } from '../compose.ts';
import { Failure } from '../failure.ts';
import { bytes } from '../format.ts';
import type { Step } from '../output.ts';
import { dbname, sql } from '../sql.ts';
import { keyName, type PostgresAddress, partName } from './addresses.ts';
import type { Flow } from './encryption.ts';
import {
  type Access,
  describeRows,
  type PostgresPart,
  type Prepared,
  type Source,
  type Stored,
  type Work,
} from './manifest.ts';
import {
  connect,
  endSessions,
  explained,
  exportSnapshot,
  LOCK_WAIT,
  readableTables,
  type Server,
} from './postgres.ts';
import { globalsOf } from './postgres-globals.ts';
import { outputOf, saveFlow, zstd } from './transfer.ts';

/** What is to be known of a database before it is dumped. */
interface Facts {
  database: string;
  owner: string;
  encoding: string;
  collate: string;
  ctype: string;
  icuLocale: string | null;
  access: Access[] | null;
  connectionLimit: number;
  bytes: number;
  serverVersion: string;
  serverNumber: number;
}

/** The version of the pg_dump that would run. */
async function clientVersion(server: Server): Promise<{ text: string; major: number }> {
  const said = await server.host.run(server.command('pg_dump', '--version'));
  const text = /\) (\S+)/.exec(said)?.[1] ?? said.trim();
  return { text, major: Number.parseInt(text, 10) };
}

async function factsOf(server: Server): Promise<Facts> {
  const { database } = server.address;
  const [facts] = await server.rows<Facts>(
    database,
    sql`SELECT json_build_object(
       'database', datname, 'owner', pg_get_userbyid(datdba), 'encoding', pg_encoding_to_char(encoding),
       'collate', datcollate, 'ctype', datctype,
       'icuLocale', coalesce(to_jsonb(d) ->> 'daticulocale', CASE to_jsonb(d) ->> 'datlocprovider'
         WHEN 'i' THEN to_jsonb(d) ->> 'datlocale' END),
       'access', (SELECT json_agg(json_build_object('to', CASE grantee WHEN 0 THEN NULL ELSE pg_get_userbyid(grantee) END,
         'privilege', privilege_type, 'grantable', is_grantable)) FROM aclexplode(datacl)),
       'connectionLimit', datconnlimit,
       'bytes', pg_database_size(datname), 'serverVersion', current_setting('server_version'),
       'serverNumber', current_setting('server_version_num')::int)
     FROM pg_database d WHERE datname = ${database}`,
  );
  if (!facts) throw new Failure(`${server.address.uri}: the server does not list the database ${database}`);
  return facts;
}

/**
 * pg_dump of a database as it is in a snapshot, in the custom format, to standard output. It compresses by itself where
 * the server's own can (zstd:1); where not, the caller does.
 */
function dumpCommand({ address, command }: Server, compression: 'none' | 'zstd', snapshot: string) {
  return command(
    ...(['pg_dump', '--format', 'custom', '--compress', compression === 'none' ? 'zstd:1' : '0'] as const),
    ...['--lock-wait-timeout', LOCK_WAIT, '--snapshot', snapshot, ...dbname(address.database)],
  );
}

/** What a dump has to work with. */
interface Job {
  server: Server;
  facts: Facts;
  work: Work;
  key: string;
  compression: 'none' | 'zstd';
  step: Step;
}

/** Dumps, and counts the rows in the dump's own snapshot meanwhile. */
async function dumpWithCounts({ server, facts, work, key, compression, step }: Job) {
  const snapshot = await exportSnapshot(server, facts.database);
  // The two run side by side; where one fails the other must not outlive it.
  const counting = snapshot.count();
  counting.catch(() => {});
  try {
    const running = server.host.start(dumpCommand(server, compression, snapshot.id));
    running.stdin.end();
    const dumped: Flow = outputOf(running);
    const stored = await saveFlow(
      compression === 'zstd' ? zstd(dumped) : dumped,
      key,
      facts.bytes * 2,
      work,
      (done) => step.progress({ done, unit: 'bytes' }),
    );
    return { stored, tables: await counting };
  } catch (error) {
    // Where the server is what failed, there is nothing to end.
    await endSessions(server).catch(() => {});
    throw error;
  } finally {
    await snapshot.close().catch(() => {});
  }
}

/** From this version on pg_dump compresses with zstd itself. */
const ZSTD_SINCE = 16;

/** A PostgreSQL database as a part of a backup. */
export function postgresSource(address: PostgresAddress, compose: Compose): Source {
  const source: Source = {
    kind: 'postgres',
    name: partName(address),
    uri: address.uri,
    async prepare(work) {
      try {
        return await prepare(source, address, compose, work);
      } catch (error) {
        throw explained(error, address);
      }
    },
  };
  return source;
}

async function prepare(
  source: Source,
  address: PostgresAddress,
  compose: Compose,
  work: Work,
): Promise<Prepared> {
  const server = await connect(work.host, compose, address);
  const [facts, client] = await Promise.all([
    factsOf(server),
    clientVersion(server),
    readableTables(server, address.database),
  ]);
  if (client.major < Math.floor(facts.serverNumber / 10_000)) {
    throw new Failure(
      `${address.uri}: pg_dump ${client.text} is older than the server, ${facts.serverVersion}`,
      {
        next: `install postgresql-client-${Math.floor(facts.serverNumber / 10_000)}, or use compose://`,
      },
    );
  }
  const compression = client.major >= ZSTD_SINCE ? 'none' : 'zstd';
  const key = `backups/${work.id}/${keyName(source.name)}.dump${compression === 'zstd' ? '.zst' : ''}${work.encrypter.suffix}`;
  const globals = `backups/${work.id}/${keyName(source.name)}.globals.json${work.encrypter.suffix}`;
  const dump = dumpCommand(server, compression, '$SNAPSHOT');
  return {
    source,
    plan: [
      dump,
      `  → ${work.store.address(key)}`,
      'roles and settings, without passwords',
      `  → ${work.store.address(globals)}`,
    ],
    async save(step) {
      try {
        const job = { server, facts, work, key, compression, step } as const;
        const { stored, tables } = await dumpWithCounts(job);
        const roles = await saveGlobals(job, globals);
        step.note(`${bytes(stored.bytes)}, ${describeRows(tables)}`);
        return record(source, facts, client.text, compression, stored, roles, tables);
      } catch (error) {
        throw explained(error, address);
      }
    },
  };
}

async function saveGlobals({ server, work }: Job, key: string): Promise<Stored> {
  const text = `${JSON.stringify(await globalsOf(server), null, 2)}\n`;
  return saveFlow(Readable.from([Buffer.from(text)]), key, text.length, work);
}

function record(
  source: Source,
  { bytes: bytesIn, serverNumber: _, ...facts }: Facts,
  client: string,
  compression: 'none' | 'zstd',
  dump: Stored,
  globals: Stored,
  tables: PostgresPart['tables'],
): PostgresPart {
  const bytesOut = dump.bytes + globals.bytes;
  const { name, uri } = source;
  return {
    kind: 'postgres',
    name,
    source: uri,
    bytesIn,
    bytesOut,
    ...facts,
    clientVersion: client,
    compression,
    dump,
    globals,
    tables,
  };
}
