import { Readable } from 'node:stream';
import type { Compose } from '../../compose.ts';
import { Failure } from '../../failure.ts';
import { bytes } from '../../format.ts';
import { saveFlow } from '../flow.ts';
import type { PostgresPart, Stored } from '../manifest.ts';
import { keyName, partName } from '../names.ts';
import type { Prepared, Source, Work } from '../part.ts';
import { describeRows } from '../rows.ts';
import type { PostgresAddress } from './address.ts';
import { dumpCommand, dumpWithCounts, type Job } from './dump.ts';
import { explained } from './explained.ts';
import { clientVersion, type Facts, factsOf } from './facts.ts';
import { globalsOf } from './globals.ts';
import { connect } from './server.ts';
import { readableTables } from './snapshot.ts';

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
  const key = `backups/${work.id}/${keyName(source.name)}.dump${compression === 'zstd' ? '.zst' : ''}${work.sealer.suffix}`;
  const globals = `backups/${work.id}/${keyName(source.name)}.globals.json${work.sealer.suffix}`;
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
