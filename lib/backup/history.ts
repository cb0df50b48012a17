import { join } from 'node:path';
import { z } from 'zod';
import { EXIT, Failure } from '../failure.ts';
import { appendLine, readKept } from '../keep.ts';
import { dateOf } from './id.ts';

/** A restore that happened on this host, or the undoing of one. */
const restoration = z.object({
  id: z.string().refine((id) => dateOf(id), 'is no id of a backup'),
  at: z.iso.datetime(),
  parts: z.array(
    z.object({
      kind: z.enum(['postgres', 'sqlite', 'directory', 'bucket']),
      name: z.string(),
      kept: z.string(),
    }),
  ),
  /** Whether `--undo` took it back. */
  undone: z.boolean().optional(),
});
export type Restoration = z.infer<typeof restoration>;

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
  appendLine(join(stateDir, name), JSON.stringify(entry));
}

/** The restore that `--undo` takes back: the last. @throws Failure when there is none, it cannot be read, or it was taken back already */
export function lastRestoration(stateDir: string): Restoration {
  const file = join(stateDir, RESTORES);
  const last = readKept(file)?.toString().split('\n').findLast(Boolean);
  if (last === undefined) throw new Failure('no restore has been made on this host', { exit: EXIT.usage });
  const entry = parseRestoration(last);
  // The one before it is not the last: what came since would be lost.
  if (!entry) {
    throw new Failure(`${file}: its last line cannot be read: what the last restore was is not known`, {
      next: 'put what was kept (…_before_…) back by hand, then remove the line',
    });
  }
  if (!entry.undone) return entry;
  throw new Failure(`the restore of ${entry.id} was undone already, at ${entry.at}`, {
    exit: EXIT.usage,
    next: 'restore a backup: npx tsx scripts/backup/restore.ts --help',
  });
}

function parseRestoration(line: string): Restoration | undefined {
  try {
    return restoration.safeParse(JSON.parse(line)).data;
  } catch {
    return undefined;
  }
}
