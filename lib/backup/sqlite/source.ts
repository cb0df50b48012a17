import { closeSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { bytes, count } from '../../format.ts';
import { realPath } from '../files/places.ts';
import { saveFlow, zstd } from '../flow.ts';
import type { SqlitePart } from '../manifest.ts';
import type { Prepared, Source, Work } from '../part.ts';
import { enoughSpace } from '../space.ts';
import type { SqliteAddress } from './address.ts';
import { copyDatabase, createFile, inspect, readFlow, removeDatabase } from './database.ts';

/** A SQLite database as a part of a backup: a snapshot of it is taken while the app writes. */
export function sqliteSource(address: SqliteAddress): Source {
  const source: Source = {
    kind: 'sqlite',
    name: address.name,
    uri: address.uri,
    async prepare(work) {
      inspect(realPath(address.file));
      const { size } = await stat(address.file);
      await enoughSpace(work.stateDir ?? dirname(address.file), size, `a snapshot of ${address.file}`);
      const key = `backups/${work.id}/${address.name}.db.zst${work.sealer.suffix}`;
      const plan = [`snapshot of ${address.file}, zstd`, `  → ${work.store.address(key)}`];
      return { source, plan, save: (step) => save(source, address, key, work, step) };
    },
  };
  return source;
}

async function save(
  { name, uri }: Source,
  { file }: SqliteAddress,
  key: string,
  work: Work,
  step: Parameters<Prepared['save']>[0],
): Promise<SqlitePart> {
  // The one part that cannot be streamed: a file that is being written has no consistent stream.
  const snapshot = join(work.stateDir ?? dirname(file), `snapshot-${name}.db`);
  try {
    removeDatabase(snapshot);
    closeSync(createFile(snapshot));
    await copyDatabase(realPath(file), snapshot);
    const tables = inspect(snapshot);
    const { size } = await stat(snapshot);
    const dump = await saveFlow(zstd(readFlow(snapshot)), key, size * 2, work, (done) =>
      step.progress({ done, unit: 'bytes' }),
    );
    step.note(`${bytes(dump.bytes)}, ${count(tables.length, 'table')}`);
    const { uid, gid, mode } = await stat(file);
    const owner = { uid, gid, mode: mode & 0o777 };
    return { kind: 'sqlite', name, source: uri, bytesIn: size, bytesOut: dump.bytes, dump, tables, owner };
  } finally {
    removeDatabase(snapshot);
  }
}
