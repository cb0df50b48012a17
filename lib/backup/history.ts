import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { EXIT, Failure } from '../failure.ts';
import { stateFile } from '../state.ts';
import type { Kept } from './restore.ts';

/** A restore that happened on this host, or the undoing of one. */
export interface Restoration {
  id: string;
  at: string;
  parts: Kept[];
  /** Whether `--undo` took it back. */
  undone?: boolean;
}

/** A drill that happened: how long a restore takes, and whether it would have worked. */
export interface Drill {
  id: string;
  at: string;
  ms: number;
  equal: boolean;
}

const RESTORES = 'restores.jsonl';
const DRILLS = 'drills.jsonl';

export const rememberRestoration = (stateDir: string, entry: Restoration): void =>
  append(stateDir, RESTORES, entry);
export const rememberDrill = (stateDir: string, entry: Drill): void => append(stateDir, DRILLS, entry);

function append(stateDir: string, name: string, entry: object): void {
  appendFileSync(stateFile(stateDir, name), `${JSON.stringify(entry)}\n`);
}

/** The restore that `--undo` takes back: the last. @throws Failure when there is none, or it was taken back already */
export function lastRestoration(stateDir: string): Restoration {
  const file = join(stateDir, RESTORES);
  const lines = existsSync(file) ? readFileSync(file, 'utf8').split('\n').filter(Boolean) : [];
  const last = lines.at(-1);
  if (last === undefined) throw new Failure('no restore has been made on this host', { exit: EXIT.usage });
  const entry = JSON.parse(last) as Restoration;
  if (!entry.undone) return entry;
  throw new Failure(`the restore of ${entry.id} was undone already, at ${entry.at}`, {
    exit: EXIT.usage,
    next: 'restore a backup: npx tsx scripts/backup/restore.ts --help',
  });
}
