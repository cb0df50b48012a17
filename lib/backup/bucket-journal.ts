import { z } from 'zod';
import { EXIT, Failure } from '../failure.ts';
import { forEach } from '../pool.ts';
import { readJournalFile, refusedJournal, removeKept, writeWhole } from '../state.ts';
import { type Bucket, freeSibling, siblingName } from './bucket.ts';
import { dateOf } from './id.ts';
import { fileName, quoted } from './schema.ts';

const keys = z.array(z.string().min(1).max(1024));

/**
 * One restore into a live bucket. It is written down before each phase, so that one that was cut off can be put back,
 * and a finished one undone: `saving` copies what will be overwritten, `writing` changes the live bucket; those of an
 * undo do so backwards.
 */
export type Journal = Readonly<z.infer<typeof journalSchema>>;

const journalSchema = z.object({
  part: fileName,
  /** The backup whose objects were written. */
  id: z.string().refine((id) => dateOf(id) !== undefined, 'is no id of a backup'),
  /** The bucket that has what was overwritten. */
  before: z.string(),
  overwritten: keys,
  added: keys,
  phase: z.enum(['saving', 'writing', 'done', 'undo-saving', 'undo-writing']),
  /** The bucket that gets what an undo takes away. */
  undone: z.string().optional(),
});

const fileOf = (stateDir: string, part: string) => `${stateDir}/restored-bucket-${part}.json`;

/** The last restore into a part's bucket from this host, or nothing. */
export function readJournal(stateDir: string, part: string): Journal | undefined {
  const file = fileOf(stateDir, part);
  const journal = readJournalFile(file, journalSchema);
  if (journal && journal.part !== part) throw refusedJournal(file, `part: is not ${part}`);
  return journal;
}

function write(stateDir: string, journal: Journal): Journal {
  writeWhole(fileOf(stateDir, journal.part), [`${JSON.stringify(journal)}\n`]);
  return journal;
}

/** Buckets are emptied and dropped by a journal: only those that a restore of this one makes. */
function refuseForeign(stateDir: string, { part, id, before, undone }: Journal, live: Bucket): void {
  const isSibling = (name: string, suffix: string) => {
    const n = /-(\d+)$/.exec(name)?.[1];
    return [suffix, `${suffix}-${n}`].some((one) => siblingName(live.name, one) === name);
  };
  if (isSibling(before, `-before-${id}`) && (!undone || isSibling(undone, `-undone-${id}`))) return;
  const named = [before, ...(undone === undefined ? [] : [undone])].map(quoted).join(', ');
  throw refusedJournal(fileOf(stateDir, part), `it names ${named}, which is none of its buckets`);
}

export const isCutOff = (journal: Journal | undefined): journal is Journal =>
  journal !== undefined && journal.phase !== 'done';

/** Copies objects from bucket to bucket of one server; those that are gone are passed over. */
async function copyAll(
  keys: readonly string[],
  from: Bucket,
  to: Bucket,
  signal: AbortSignal,
): Promise<void> {
  await forEach(keys, { signal, act: async (key) => void (await from.copy(key, to)) });
}

async function ensure(bucket: Bucket): Promise<void> {
  if (!(await bucket.exists())) await bucket.create();
}

/** Keeps what will be overwritten, then copies all of `side` into the live bucket. */
export async function bringIn(
  stateDir: string,
  journal: Omit<Journal, 'phase'>,
  { live, side }: { live: Bucket; side: Bucket },
  signal: AbortSignal,
): Promise<void> {
  const before = live.sibling(journal.before);
  write(stateDir, { ...journal, phase: 'saving' });
  await ensure(live);
  await ensure(before);
  await copyAll(journal.overwritten, live, before, signal);
  write(stateDir, { ...journal, phase: 'writing' });
  await copyAll([...journal.overwritten, ...journal.added], side, live, signal);
  write(stateDir, { ...journal, phase: 'done' });
}

/** Puts the live bucket back to what it was before a restore, however far that had come. */
export async function takeBack(
  stateDir: string,
  { part, phase, before, overwritten, added }: Journal,
  live: Bucket,
  signal: AbortSignal,
): Promise<void> {
  const kept = live.sibling(before);
  if (phase !== 'saving') {
    await copyAll(overwritten, kept, live, signal);
    await live.remove(added);
  }
  // All that it has is in the live bucket again.
  if (await kept.exists()) await kept.drop();
  removeKept(fileOf(stateDir, part));
}

/** Ends what was cut off: a restore is put back, an undo is finished. */
export async function settleBucket(
  stateDir: string,
  part: string,
  live: Bucket,
  signal: AbortSignal,
): Promise<void> {
  const journal = readJournal(stateDir, part);
  if (!isCutOff(journal)) return;
  refuseForeign(stateDir, journal, live);
  if (journal.phase.startsWith('undo')) await finishUndo(stateDir, journal, live, signal);
  else await takeBack(stateDir, journal, live, signal);
}

/**
 * Puts back what the last restore from this host overwrote in a bucket, and takes away what it added; both are kept
 * in a bucket of their own.
 * @returns the backup that had been restored, and that bucket
 */
export async function undoRestore(
  stateDir: string,
  part: string,
  live: Bucket,
  signal: AbortSignal,
): Promise<{ id: string; kept: string }> {
  const journal = readJournal(stateDir, part);
  if (!journal) {
    throw new Failure(`${part}: there is no restore to undo on this host`, {
      exit: EXIT.usage,
      next: 'to restore an earlier backup: npx tsx scripts/backup/list.ts',
    });
  }
  refuseForeign(stateDir, journal, live);
  const undone = journal.undone ?? (await freeSibling(live, `-undone-${journal.id}`)).name;
  const phase = journal.phase === 'undo-writing' ? journal.phase : 'undo-saving';
  // Nothing live was changed yet: there is nothing to keep of it.
  if (journal.phase === 'saving') await takeBack(stateDir, journal, live, signal);
  else await finishUndo(stateDir, write(stateDir, { ...journal, undone, phase }), live, signal);
  return { id: journal.id, kept: undone };
}

async function finishUndo(
  stateDir: string,
  journal: Journal,
  live: Bucket,
  signal: AbortSignal,
): Promise<void> {
  const { undone = '', overwritten, added, phase } = journal;
  if (phase === 'undo-saving') {
    const kept = live.sibling(undone);
    await ensure(kept);
    await copyAll([...overwritten, ...added], live, kept, signal);
    write(stateDir, { ...journal, phase: 'undo-writing' });
  }
  await takeBack(stateDir, { ...journal, phase: 'undo-writing' }, live, signal);
}
