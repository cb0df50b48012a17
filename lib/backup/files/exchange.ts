import { readFileSync, renameSync, rmSync } from 'node:fs';
import { EXIT, Failure, messageOf } from '../../failure.ts';
import { writeWhole } from '../../keep.ts';
import { type BytePath, below, fromText } from './paths.ts';
import {
  type Attributes,
  attributesOf,
  ensureDirectory,
  isThere,
  moveAll,
  namesOf,
  type Rename,
  removeEmpty,
  setAttributes,
} from './swap.ts';

/**
 * One swap of a directory's contents: the directory itself stays, because containers have it mounted. It is written
 * down before each phase, so that a killed one can be put back, and a finished one undone.
 */
export interface Exchange {
  part: string;
  /** The backup whose files came in. */
  id: string;
  live: string;
  /** The directory was not there. */
  created: boolean;
  beside: string;
  before: string;
  incoming: readonly BytePath[];
  was: Attributes;
  becomes: Attributes;
  phase: 'out' | 'in' | 'done' | 'undo-out' | 'undo-in';
  /** Where an undo puts what the restore had brought. */
  undone?: string;
}

const fileOf = (stateDir: string, part: string) => `${stateDir}/swapped-${part}.json`;

/** The last swap of a part on this host, or nothing. */
export function readExchange(stateDir: string, part: string): Exchange | undefined {
  try {
    return JSON.parse(readFileSync(fileOf(stateDir, part), 'utf8')) as Exchange;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
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
    moveAll(beside, live, incoming, rename);
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
  rmSync(fileOf(stateDir, part), { force: true });
}

/** Ends a swap or an undo that was cut off: a swap is put back, an undo is finished. */
export function settle(stateDir: string, part: string): void {
  const exchange = readExchange(stateDir, part);
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
  place: (id: string) => string,
  rename: Rename = renameSync,
): string {
  const exchange = readExchange(stateDir, part);
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
  rmSync(fileOf(stateDir, part), { force: true });
}
