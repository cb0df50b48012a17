import type { Command } from '../../command.ts';
import { sql } from '../../sql.ts';
import { feed, unzstd } from '../flow.ts';
import type { PostgresPart } from '../manifest.ts';
import type { Recovery } from '../part.ts';
import { refuseIfShort } from '../space.ts';
import { openStored, usingStored } from '../stored.ts';
import type { PostgresAddress } from './address.ts';
import type { Server } from './server.ts';

/** `=` occurs in no encoded name, so that no database's pattern matches the dump of another. */
const stagedName = (database: string, id: string) => `/opsbook-${id}=${encodeURIComponent(database)}.dump`;

/**
 * Where a dump waits for pg_restore, since several jobs have to seek in one file: beside the server, or with its
 * clients in the state folder. Two apps of one server may have backups of the same second.
 */
export const stagedDump = ({ via, database }: PostgresAddress, { id, stateDir }: Recovery): string =>
  (via === 'compose' ? '/tmp' : stateDir) + stagedName(database, id);

/** Removes dumps of the database that killed runs left. */
export async function clearStaged({ host, command, address }: Server, { stateDir }: Recovery): Promise<void> {
  const folder = address.via === 'compose' ? '/tmp' : stateDir;
  const name = stagedName(address.database, '*');
  await host.run(command('find', folder, '-maxdepth', '1', '-name', name.slice(1), '-delete'));
}

/** Writes its input to a new file, for the owner alone: a link that somebody put in its place is not written through. */
const WRITE = 'umask 077; rm -f "$1"; set -C; cat > "$1"';

export const stageCommand = (server: Server, file: string): Command =>
  server.command('sh', '-c', WRITE, 'stage', file);

/** Brings the dump next to the server; what arrived is held against the manifest before anything uses it. */
export async function stageDump(
  server: Server,
  part: PostgresPart,
  file: string,
  recovery: Recovery,
  onBytes: (total: number) => void,
): Promise<void> {
  await usingStored(part.dump, part.name, recovery, async () => {
    const plain = await openStored(part.dump, part.name, recovery, onBytes);
    const dump = part.compression === 'zstd' ? unzstd(plain) : plain;
    await feed(dump, server.host.start(stageCommand(server, file)));
  });
}

/** @throws Failure when the server's disk has no room for the dump and the database */
export async function enoughServerSpace(server: Server, part: PostgresPart): Promise<void> {
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
