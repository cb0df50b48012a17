import { bytes, duration } from '../../../format.ts';
import { ownScript } from '../../../own-script.ts';
import type { Context } from '../../../script.ts';
import { ok, problem, type Row, unknown, unset } from '../row.ts';

/** A backup as `scripts/backup/list.ts --json` tells of it. */
export interface Backup {
  id: string;
  state: 'complete' | 'partial' | 'unfinished';
  /** ISO 8601. */
  started: string;
  bytes: number;
}

export interface History {
  rows: Row[];
  /** The history, oldest first; absent where it could not be seen. */
  backups?: Backup[];
}

/** So far two clocks may differ before one of them is wrong. */
const CLOCK_TOLERANCE_MS = 3_600_000;
/** A backup that has become smaller than this part of the one before has lost something. */
const SHRUNK = 0.5;

const USAGE = 2;

/** Asks the store, from here: hosts may be allowed to write only. */
export async function backupRows(
  maxAgeMs: number,
  context: Pick<Context, 'envFiles' | 'signal'>,
): Promise<History> {
  const { code, stdout, error, next } = await ownScript(
    'backup/list',
    ['--json', '--target', 'local'],
    context,
  );
  if (code === USAGE && error.startsWith('BACKUP_STORE is not set'))
    return { rows: [unset('backup', 'BACKUP_STORE is')] };
  if (code !== 0) return { rows: [unknown('backup', error, next)] };
  const { store, backups } = JSON.parse(stdout) as { store: string; backups: Backup[] };
  return { rows: judge(store, backups, maxAgeMs, new Date()), backups };
}

/** The newest complete backup: its age, and its size against the one before. */
export function judge(store: string, backups: readonly Backup[], maxAgeMs: number, now: Date): Row[] {
  const expected = `complete, ${duration(maxAgeMs)} old at the most`;
  const todo = 'read the log of the last run, and run it again: scripts/backup/backup.ts';
  const complete = backups.filter(({ state }) => state === 'complete');
  const [newest, before] = [complete.at(-1), complete.at(-2)];
  if (!newest) return [problem('backup', `no complete backup in ${store}`, expected, todo)];
  const age = now.getTime() - Date.parse(newest.started);
  const found = `${newest.id}, ${bytes(newest.bytes)}, is ${duration(age)} old`;
  if (age < -CLOCK_TOLERANCE_MS) {
    const clock = 'a clock is wrong: compare date -u here and on the host';
    return [problem('backup', `${newest.id} is from the future`, expected, clock)];
  }
  return [
    age > maxAgeMs ? problem('backup', found, expected, todo) : ok('backup', found, expected),
    ...(before && newest.bytes < before.bytes * SHRUNK ? [shrunk(newest, before)] : []),
  ];
}

const shrunk = (newest: Backup, before: Backup): Row =>
  problem(
    'backup',
    `${newest.id} has ${bytes(newest.bytes)}, ${before.id} had ${bytes(before.bytes)}`,
    'about as large as the one before',
    'see what is missing in it: scripts/backup/verify.ts, and a drill',
  );
