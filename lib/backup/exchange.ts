import { renameSync } from 'node:fs';
import { z } from 'zod';
import { EXIT, Failure, messageOf } from '../failure.ts';
import { readJournalFile, refusedJournal, removeKept, writeWhole } from '../state.ts';
import { type BytePath, below, fromText } from './addresses.ts';
import { dateOf } from './id.ts';
import {
  attributesOf,
  ensureDirectory,
  isThere,
  moveAll,
  namesOf,
  type Rename,
  removeEmpty,
  setAttributes,
} from './swap.ts';
import { realPath } from './walk.ts';

/**
 * One swap of a directory's contents: the directory itself stays, because containers have it mounted. It is written
 * down before each phase, so that a killed one can be put back, and a finished one undone.
 */
export type Exchange = z.infer<typeof exchangeSchema>;

const natural = z.int().nonnegative();
const attributes = z.object({ mode: natural.max(0o7777), uid: natural, gid: natural, mtime: z.int() });
const exchangeSchema = z.object({
  part: z.string(),
  /** The backup whose files came in. */
  id: z.string().refine((id) => dateOf(id), 'is no id of a backup'),
  live: z.string(),
  /** The directory was not there. */
  created: z.boolean(),
  beside: z.string(),
  before: z.string(),
  /** Names, not paths. */
  incoming: z.array(z.string().regex(/^(?!\.{1,2}$)[^/\0]+$/, 'is no name')),
  was: attributes,
  becomes: attributes,
  phase: z.enum(['out', 'in', 'done', 'undo-out', 'undo-in']),
  /** Where an undo puts what the restore had brought. */
  undone: z.string().optional(),
});

const fileOf = (stateDir: string, part: string) => `${stateDir}/swapped-${part}.json`;

/** The last swap of a part on this host, or nothing. */
export function readExchange(stateDir: string, part: string): Exchange | undefined {
  return readJournalFile(fileOf(stateDir, part), exchangeSchema);
}

/**
 * The last swap of a part, whose paths are those that a restore of `directory` has.
 * @throws Failure where they are others
 */
function exchangeOf(stateDir: string, part: string, directory: string): Exchange | undefined {
  const exchange = readExchange(stateDir, part);
  if (!exchange) return undefined;
  const { id, live, beside, before, undone } = exchange;
  const isPlace = (path: string, outer: string, inner: string) =>
    [`${live}${outer}${id}`, `${live}/.opsbook-${inner}-${id}`].includes(
      path.replace(/_[2-9]\d*$|_1\d+$/, ''),
    );
  const wrong = (
    [
      ['part', exchange.part === part],
      ['live', live === realPath(directory)],
      ['beside', isPlace(beside, '.restoring-', 'restoring')],
      ['before', isPlace(before, '_before_', 'before')],
      ['undone', undone === undefined || isPlace(undone, '_undone_', 'undone')],
    ] as const
  ).find(([, right]) => !right);
  if (!wrong) return exchange;
  throw refusedJournal(fileOf(stateDir, part), `${wrong[0]}: is another than that of ${directory}`);
}

function write(stateDir: string, exchange: Exchange): void {
  writeWhole(fileOf(stateDir, exchange.part), [`${JSON.stringify(exchange)}\n`]);
}

export const isCutOff = (exchange: Exchange | undefined): exchange is Exchange =>
  exchange !== undefined && exchange.phase !== 'done';

/**
 * Moves what is in the directory out and what was restored in.
 * @throws Failure when a rename is refused; then everything is where it was
 */
export function swapIn(
  stateDir: string,
  exchange: Omit<Exchange, 'phase'>,
  rename: Rename = renameSync,
): void {
  const { live, beside, before, incoming, was, becomes } = exchange;
  write(stateDir, { ...exchange, phase: 'out' });
  try {
    ensureDirectory(live);
    ensureDirectory(before);
    moveAll(live, before, namesOf(live), rename);
    setAttributes(before, was);
    write(stateDir, { ...exchange, phase: 'in' });
    moveAll(beside, live, incoming, rename, { ours: true });
    setAttributes(live, becomes);
    write(stateDir, { ...exchange, phase: 'done' });
  } catch (error) {
    putBack(stateDir, exchange, rename);
    throw new Failure(
      `${exchange.part}: ${live} could not be swapped (${messageOf(error)}); it is as it was`,
      {
        next: 'run it as root, or restore with --to another directory',
        cause: error,
      },
    );
  }
  removeEmpty(beside);
  if (exchange.created) removeEmpty(before);
}

/** Puts everything where it was before the swap, however far that had come. */
export function putBack(
  stateDir: string,
  exchange: Omit<Exchange, 'phase'>,
  rename: Rename = renameSync,
): void {
  const { part, live, beside, before, incoming, was, created } = exchange;
  const at = (directory: string, name: BytePath) => isThere(below(fromText(directory), name));
  const cameIn = incoming.filter((name) => !at(beside, name) && at(live, name));
  if (cameIn.length > 0) {
    ensureDirectory(beside);
    moveAll(live, beside, cameIn, rename);
  }
  if (isThere(fromText(before))) moveAll(before, live, namesOf(before), rename);
  removeEmpty(before);
  if (created) removeEmpty(live);
  else setAttributes(live, was);
  removeKept(fileOf(stateDir, part));
}

/** Ends a swap or an undo that was cut off: a swap is put back, an undo is finished. */
export function settle(stateDir: string, part: string, directory: string): void {
  const exchange = exchangeOf(stateDir, part, directory);
  if (!isCutOff(exchange)) return;
  if (exchange.phase.startsWith('undo')) finishUndo(stateDir, exchange);
  else putBack(stateDir, exchange);
}

/**
 * Puts back what was there before the last restore.
 * @param place where what the restore had brought is kept
 * @returns where it is
 */
export function undoExchange(
  stateDir: string,
  part: string,
  directory: string,
  place: (id: string) => string,
  rename: Rename = renameSync,
): string {
  const exchange = exchangeOf(stateDir, part, directory);
  if (!exchange) {
    throw new Failure(`${part}: there is no restore to undo on this host`, {
      exit: EXIT.usage,
      next: 'to restore an earlier backup: npx tsx scripts/backup/list.ts',
    });
  }
  const undone = exchange.undone ?? place(exchange.id);
  if (exchange.phase === 'out' || exchange.phase === 'in') {
    putBack(stateDir, exchange, rename);
    rename(Buffer.from(exchange.beside), Buffer.from(undone));
  } else if (exchange.phase === 'done') {
    const started: Exchange = { ...exchange, undone, phase: 'undo-out' };
    write(stateDir, started);
    finishUndo(stateDir, started, rename);
  } else finishUndo(stateDir, exchange, rename);
  return undone;
}

function finishUndo(stateDir: string, exchange: Exchange, rename: Rename = renameSync): void {
  const { part, live, before, undone = '', was, created, phase } = exchange;
  if (phase === 'undo-out') {
    ensureDirectory(undone);
    const attributes = attributesOf(live);
    moveAll(live, undone, namesOf(live), rename);
    setAttributes(undone, attributes);
    write(stateDir, { ...exchange, phase: 'undo-in' });
  }
  if (isThere(fromText(before))) moveAll(before, live, namesOf(before), rename);
  removeEmpty(before);
  if (created) removeEmpty(live);
  else setAttributes(live, was);
  removeKept(fileOf(stateDir, part));
}
