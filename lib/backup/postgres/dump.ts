import type { Step } from '../../report.ts';
import { dbname } from '../../sql.ts';
import { outputOf, saveFlow, zstd } from '../flow.ts';
import type { Work } from '../part.ts';
import type { Flow } from '../seal.ts';
import type { Facts } from './facts.ts';
import { endSessions, type Server } from './server.ts';
import { exportSnapshot, LOCK_WAIT } from './snapshot.ts';

/**
 * pg_dump of a database as it is in a snapshot, in the custom format, to standard output. It compresses by itself where
 * the server's own can (zstd:1); where not, the caller does.
 */
export function dumpCommand({ address, command }: Server, compression: 'none' | 'zstd', snapshot: string) {
  return command(
    ...(['pg_dump', '--format', 'custom', '--compress', compression === 'none' ? 'zstd:1' : '0'] as const),
    ...['--lock-wait-timeout', LOCK_WAIT, '--snapshot', snapshot, ...dbname(address.database)],
  );
}

/** What a dump has to work with. */
export interface Job {
  server: Server;
  facts: Facts;
  work: Work;
  key: string;
  compression: 'none' | 'zstd';
  step: Step;
}

/** Dumps, and counts the rows in the dump's own snapshot meanwhile. */
export async function dumpWithCounts({ server, facts, work, key, compression, step }: Job) {
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
