import { scriptArgv, timed } from '../run.ts';
import { type Seen, watchProcess } from '../watch.ts';
import type { Bench } from '../world.ts';
import type { Server } from './server.ts';
import type { Target } from './stores.ts';

/** What is backed up, and what was seen of it so far. */
export interface Subject {
  bench: Bench;
  server: Server;
  database: string;
  observed: Observed[];
}

/** One backup by our script. */
export interface Observed {
  target: string;
  database: string;
  encrypted: boolean;
  seconds: number;
  /** Bytes that went into the store for the database. */
  stored: number;
  seen: Seen;
}

/** The settings of the app whose database or directories are backed up. */
export const appEnvironment = ({ env }: Bench, appDir: string, target: Target): Record<string, string> => ({
  ...env,
  ...target.env,
  APP: 'bench',
  APP_DIR: appDir,
  BACKUP_STORE: target.store,
});

export const databaseSetting = (database: string): string => `compose://db/${database}?user=postgres`;

export const SCRIPT = 'scripts/backup/backup.ts';

/** Runs a script and looks at its processes meanwhile, and at those whose command line matches `also`. */
export async function watched(script: string, args: string[], env: Record<string, string>, also?: string) {
  let watch: ReturnType<typeof watchProcess> | undefined;
  const ran = await timed(scriptArgv(script, ...args), env, (pid) => {
    watch = watchProcess(pid, script, also);
  }).finally(() => watch?.stop());
  return { ...ran, seen: watch!.stop() };
}

/** Backs the database up by our script, into a store that is emptied afterwards; returns the seconds it took. */
export async function backUp(
  { bench, server, database, observed }: Subject,
  target: Target,
  recipient?: string,
): Promise<number> {
  const env = {
    ...appEnvironment(bench, server.appDir, target),
    BACKUP_DATABASES: databaseSetting(database),
    ...(recipient === undefined ? {} : { BACKUP_RECIPIENT: recipient }),
  };
  const { seconds, stdout, seen } = await watched(SCRIPT, ['--json'], env, `pg_dump.*${database}`);
  const { parts } = JSON.parse(stdout) as { parts: Array<{ bytesOut: number }> };
  observed.push({
    ...{ target: target.name, database, encrypted: recipient !== undefined, seconds },
    stored: parts[0]!.bytesOut,
    seen,
  });
  await target.empty();
  return seconds;
}
