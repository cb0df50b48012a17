import { Readable } from 'node:stream';
import type { Command } from '../command.ts';
import type { Compose } from '../compose.ts';
import { Failure } from '../failure.ts';
import { bytes } from '../format.ts';
import { dbname, sql } from '../sql.ts';
import { keyName, type PostgresAddress, partName } from './addresses.ts';
import type { Flow } from './encryption.ts';
import { describeRows, type PostgresPart, type Prepared, type Source, type Work } from './manifest.ts';
import {
  connect,
  endSessions,
  explaining,
  exportSnapshot,
  LOCK_WAIT,
  readableTables,
  type Server,
} from './postgres.ts';
import { globalsOf } from './postgres-roles.ts';
import { outputOf, saveFlow, zstd } from './transfer.ts';

/** A PostgreSQL database as a part of a backup. */
export function postgresSource(address: PostgresAddress, compose: Compose): Source {
  const source: Source = {
    ...{ kind: 'postgres', name: partName(address), uri: address.uri },
    prepare: (work) => explaining(address, () => prepare(source, address, compose, work)),
  };
  return source;
}

/** From this version on pg_dump compresses with zstd itself. */
const ZSTD_SINCE = 16;

async function prepare(
  source: Source,
  address: PostgresAddress,
  compose: Compose,
  work: Work,
): Promise<Prepared> {
  const { database, uri } = address;
  const server = await connect(work.host, compose, address);
  const [{ serverMajor, bytesIn, ...facts }, client] = await Promise.all([
    factsOf(server),
    clientVersion(server),
    readableTables(server, database),
  ]);
  if (client.major < serverMajor) {
    throw new Failure(`${uri}: pg_dump ${client.text} is older than the server, ${facts.serverVersion}`, {
      next: `install postgresql-client-${serverMajor}, or use compose://`,
    });
  }
  const compression = client.major >= ZSTD_SINCE ? 'none' : 'zstd';
  const [level, ending] = compression === 'none' ? ['zstd:1', '.dump'] : ['0', '.dump.zst'];
  const keyOf = (end: string) => `backups/${work.id}/${keyName(source.name)}${end}${work.encrypter.suffix}`;
  const [key, globalsKey] = [keyOf(ending), keyOf('.globals.json')];
  const pgDump = (snapshot: string) =>
    server.cmd`pg_dump --format custom --compress ${level} --lock-wait-timeout ${LOCK_WAIT} --snapshot ${snapshot} ${dbname(database)}`;
  return {
    source,
    plan: [
      pgDump('$SNAPSHOT'),
      `  → ${work.store.address(key)}`,
      'roles and settings, without passwords',
      `  → ${work.store.address(globalsKey)}`,
    ],
    save: (step) =>
      explaining(address, async () => {
        const [dump, tables] = await dumpWithCounts(server, pgDump, (dumped) =>
          saveFlow(compression === 'zstd' ? zstd(dumped) : dumped, key, bytesIn * 2, work, (done) =>
            step.progress({ done, unit: 'bytes' }),
          ),
        );
        const text = `${JSON.stringify(await globalsOf(server), null, 2)}\n`;
        const globals = await saveFlow(Readable.from([Buffer.from(text)]), globalsKey, text.length, work);
        step.note(`${bytes(dump.bytes)}, ${describeRows(tables)}`);
        return {
          ...{ kind: 'postgres', name: source.name, source: uri, bytesIn },
          bytesOut: dump.bytes + globals.bytes,
          ...{ ...facts, clientVersion: client.text, compression, dump, globals, tables },
        };
      }),
  };
}

/** What has to be known of a database before it is dumped. */
type Facts = Omit<
  PostgresPart,
  'kind' | 'name' | 'source' | 'bytesOut' | 'clientVersion' | 'compression' | 'dump' | 'globals' | 'tables'
> & { serverMajor: number };

async function factsOf(server: Server): Promise<Facts> {
  const { database, uri } = server.address;
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
       'bytesIn', pg_database_size(datname), 'serverVersion', current_setting('server_version'),
       'serverMajor', current_setting('server_version_num')::int / 10000)
     FROM pg_database d WHERE datname = ${database}`,
  );
  if (!facts) throw new Failure(`${uri}: the server does not list the database ${database}`);
  return facts;
}

/** The version of the pg_dump that would run. */
async function clientVersion({ $ }: Server): Promise<{ text: string; major: number }> {
  const output = await $`pg_dump --version`;
  const text = /\) (\S+)/.exec(output)?.[1] ?? output.trim();
  return { text, major: Number.parseInt(text, 10) };
}

/** Dumps, and counts the rows in the dump's own snapshot meanwhile. */
async function dumpWithCounts<T>(
  server: Server,
  pgDump: (snapshot: string) => Command,
  save: (dumped: Flow) => Promise<T>,
): Promise<[T, PostgresPart['tables']]> {
  const snapshot = await exportSnapshot(server, server.address.database);
  // The two run side by side; where one fails the other must not outlive it.
  const counting = snapshot.count();
  counting.catch(() => {});
  try {
    const running = server.host.start(pgDump(snapshot.id));
    running.stdin.end();
    return [await save(outputOf(running)), await counting];
  } catch (error) {
    // Where the server is what failed, there is nothing to end.
    await endSessions(server).catch(() => {});
    throw error;
  } finally {
    await snapshot.close().catch(() => {});
  }
}
