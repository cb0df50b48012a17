import { interleave } from '../measure.ts';
import type { Options } from '../options.ts';
import { scriptArgv, timed, timedInside } from '../run.ts';
import { faster, type Row, spread, within } from '../table.ts';
import type { Bench } from '../world.ts';
import type { Outcome } from './index.ts';
import { appEnvironment, databaseSetting } from './ours.ts';
import { ensureDatabase, openServer, type Server } from './server.ts';
import { emulatorTarget, fileTarget, type Target } from './stores.ts';

const RESTORED = 'bench_restored';
/** In the container, beside the server: neither has a store to read from. */
const [GZIPPED, CUSTOM] = ['/tmp/bench.sql.gz', '/tmp/bench.dump'];

const PREPARE = `pg_dump -U postgres "$1" | gzip > "$2" && pg_dump -U postgres -Fc -Z zstd:1 -f "$3" "$1"`;
const GUNZIP_AND_PSQL = `createdb -U postgres "$1" && gunzip -c "$2" | psql -U postgres -qX -v ON_ERROR_STOP=1 -d "$1"`;
const PG_RESTORE = `createdb -U postgres "$1" && pg_restore -U postgres --exit-on-error -j2 -d "$1" "$2"`;

/** Restore into a new database: ours from the store, the peers from a file in the container. */
export async function restore(bench: Bench, options: Options): Promise<Outcome> {
  const server = await openServer(bench);
  const database = await ensureDatabase(bench, server, options.small ? 100 : 1000);
  const [file, emulator] = [fileTarget(bench), await emulatorTarget(bench)];
  for (const target of [file, emulator]) await backUpOnce(bench, server, database, target);
  await timedInside(bench, server.container, ['sh', '-c', PREPARE, 'prepare', database, GZIPPED, CUSTOM]);
  const inside = (script: string, from: string) => () =>
    intoNew(server, () => timedInside(bench, server.container, ['sh', '-c', script, 'peer', RESTORED, from]));
  const took = await interleave(`restore of ${database}`, options.rounds, {
    'pg_restore -j2': inside(PG_RESTORE, CUSTOM),
    'ours file': () => intoNew(server, () => bringBack(bench, server, database, file)),
    'gunzip | psql': inside(GUNZIP_AND_PSQL, GZIPPED),
    'ours emulator': () => intoNew(server, () => bringBack(bench, server, database, emulator)),
  });
  await timedInside(bench, server.container, ['rm', '-f', GZIPPED, CUSTOM]);
  for (const target of [file, emulator]) await target.empty();
  const rows: Row[] = [];
  for (const [{ name }, ours] of [
    [file, took['ours file']],
    [emulator, took['ours emulator']],
  ] as const) {
    const floor = took['pg_restore -j2'];
    const shown = { ours: spread(ours), floor: spread(floor) };
    rows.push(faster(`restore --to from ${name} against gunzip, psql`, ours, took['gunzip | psql'], 1.4));
    rows.push(
      within(`restore --to from ${name} against pg_restore -j2`, ours.median, floor.median, 1.15, shown),
    );
  }
  const note = 'restore is `--to`: into a new database, every row counted and compared, not swapped in';
  return { rows, notes: [note] };
}

async function backUpOnce(bench: Bench, { appDir }: Server, database: string, target: Target): Promise<void> {
  await target.empty();
  const env = { ...appEnvironment(bench, appDir, target), BACKUP_DATABASES: databaseSetting(database) };
  await timed(scriptArgv('scripts/backup/backup.ts'), env);
}

async function bringBack(
  bench: Bench,
  { appDir }: Server,
  database: string,
  target: Target,
): Promise<number> {
  const env = { ...appEnvironment(bench, appDir, target), BACKUP_DATABASES: databaseSetting(database) };
  const argv = scriptArgv('scripts/backup/restore.ts', 'latest', '--to', RESTORED);
  return (await timed(argv, env)).seconds;
}

/** Each begins with no such database, and leaves nothing for the server to write while the next runs. */
async function intoNew(server: Server, act: () => Promise<number>): Promise<number> {
  try {
    return await act();
  } finally {
    await server.psql('postgres', `DROP DATABASE IF EXISTS ${RESTORED} WITH (FORCE)`);
    await server.psql('postgres', 'CHECKPOINT');
  }
}
