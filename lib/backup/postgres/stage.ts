import type { Command } from '../../host.ts';
import { feed, unzstd } from '../flow.ts';
import type { PostgresPart } from '../manifest.ts';
import type { Recovery } from '../part.ts';
import { refuseIfShort } from '../space.ts';
import { openStored } from '../stored.ts';
import type { Server } from './server.ts';

/** Where a dump waits for pg_restore: beside the server, since several jobs have to seek in one file. */
export const stagedDump = (id: string): string => `/tmp/opsbook-${id}.dump`;

/** Writes its input to the file it is given, for the owner alone. */
const WRITE = 'umask 077; cat > "$1"';

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
  const plain = await openStored(part.dump, part.name, recovery, onBytes);
  await feed(
    part.compression === 'zstd' ? unzstd(plain) : plain,
    server.host.start(stageCommand(server, file)),
  );
}

/** @throws Failure when the server's disk has no room for the dump and the database */
export async function enoughServerSpace(server: Server, part: PostgresPart): Promise<void> {
  const [directory = ''] = await server.rows<string>(
    'postgres',
    "SELECT to_json(current_setting('data_directory'))",
  );
  if (server.address.via === 'direct') return;
  for (const [where, needed] of [
    [directory, part.bytesIn],
    ['/tmp', part.dump.bytes],
  ] as const) {
    const listing = await server.host.run(server.command('df', '-Pk', where));
    const free = Number(listing.trim().split('\n').at(-1)?.split(/\s+/)[3]) * 1024;
    refuseIfShort(free, needed, `${where} of ${server.address.uri}`, `restoring ${part.name}`);
  }
}
