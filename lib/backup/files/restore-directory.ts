import { existsSync, fchmodSync, fchownSync, fstatSync, lstatSync, mkdirSync, readdirSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import { checkAll, EXIT, Failure } from '../../failure.ts';
import { bytes, count } from '../../format.ts';
import type { Step } from '../../report.ts';
import type { DirectoryPart } from '../manifest.ts';
import type { Recovery, Restored, Restorer } from '../part.ts';
import { enoughSpace } from '../space.ts';
import { differences } from './differences.ts';
import { type Exchange, putBack, readExchange, settle, swapIn, undoExchange } from './exchange.ts';
import { fromText } from './paths.ts';
import {
  checkPlaces,
  clearLeftovers,
  nearest,
  type Places,
  placesOf,
  realPath,
  removeTree,
} from './places.ts';
import { entriesOfPart, rebuild } from './rebuild.ts';
import { attributesOf, type HeldDirectory, hold, namesOf } from './swap.ts';
import type { Entry } from './tree.ts';
import { microseconds } from './walk.ts';
import { finish } from './write.ts';

/** Brings a directory back: beside the live one, then its files into it by rename. */
export function directoryRestorer(part: DirectoryPart, directory: string, recovery: Recovery): Restorer {
  const { name } = part;
  const { id, signal, stateDir } = recovery;
  return {
    part,
    plan: [
      `restore ${count(part.files, 'file')} (${bytes(part.bytesIn)}) to ${placesOf(directory).beside(id)}`,
      `move what is in ${directory} to ${placesOf(directory).before(id)}, and the restored files into it`,
    ],
    async prepare() {
      const places = placesOf(directory);
      await checkAll([
        () => checkPlaces(places, name),
        () => enoughSpace(nearest(places.live), part.bytesIn, `${name} of backup ${id}`),
      ]);
    },
    async restoreBeside(step) {
      const places = placesOf(directory);
      settle(stateDir, name, directory);
      await clearLeftovers(places);
      const beside = places.beside(id);
      const { staged, entries } = await restoreTo(part, beside, recovery, step);
      return {
        place: beside,
        // Until the swap it is ours alone, as it was made.
        compare: () => differences(staged.at, [asItIs(staged.at), ...entries.slice(1)], signal),
        discard: () => discard(beside, staged),
        ...swapping(part, places, staged, entries, recovery),
      };
    },
  };
}

function swapping(
  { name }: DirectoryPart,
  places: Places,
  staged: HeldDirectory,
  [root]: readonly Entry[],
  { id, stateDir }: Recovery,
): Pick<Restored, 'swapIn' | 'swapBack'> {
  // What is on disk since may be of whoever owns the folder.
  let swapped: Omit<Exchange, 'phase'> | undefined;
  return {
    async swapIn() {
      const { live, exists } = places;
      const beside = places.beside(id);
      const becomes = root ?? attributesOf(beside);
      const before = places.before(id);
      const was = exists ? attributesOf(live) : becomes;
      const incoming = namesOf(beside);
      const exchange = { part: name, id, live, created: !exists, beside, before, incoming, was, becomes };
      swapIn(stateDir, exchange);
      swapped = exchange;
      staged.release();
      return exists ? before : '';
    },
    async swapBack() {
      if (swapped) putBack(stateDir, swapped);
    },
  };
}

/** A part that is restored somewhere else than to its live place. */
export interface Copier {
  readonly part: Restorer['part'];
  prepare(): Promise<void>;
  readonly plan: Restorer['plan'];
  restore(step: Step): Promise<Copy>;
}

export type Copy = Pick<Restored, 'place' | 'compare' | 'discard'>;

/** Brings a directory back to another one, which must be empty or absent. */
export function directoryCopier(
  part: DirectoryPart,
  target: string,
  recovery: Omit<Recovery, 'appDir'>,
): Copier {
  return {
    part,
    plan: [`restore ${count(part.files, 'file')} (${bytes(part.bytesIn)}) to ${target}`],
    async prepare() {
      await checkAll([
        () => checkEmpty(target, part.name),
        () => checkPlaces(placesOf(target), part.name),
        () => enoughSpace(nearest(target), part.bytesIn, `${part.name} of backup ${recovery.id}`),
      ]);
    },
    async restore(step) {
      const { staged, entries } = await restoreTo(part, target, recovery, step);
      const [root] = entries;
      if (root) await finish(fromText(staged.at), root);
      return {
        place: target,
        compare: () => differences(staged.at, entries, recovery.signal),
        discard: () => discard(target, staged),
      };
    },
  };
}

function checkEmpty(target: string, part: string): void {
  const { exists, live } = placesOf(target);
  if (!exists || readdirSync(live).length === 0) return;
  throw new Failure(`${part}: ${target} is not empty`, {
    exit: EXIT.usage,
    next: 'name a directory that is not there; what a cut-off restore left there can be removed',
  });
}

/** The entry of a directory as it is now. */
function asItIs(at: string): Entry {
  const stats = lstatSync(at);
  const { mode, uid, gid } = stats;
  return { type: 'directory', path: '', mode: mode & 0o7777, uid, gid, mtime: microseconds(stats) };
}

/** Makes a folder that whoever uses the one above can use: the app, for which root restores, has to get through it. */
function makeFolder(folder: string): void {
  if (existsSync(folder)) return;
  makeFolder(dirname(folder));
  const above = hold(realPath(dirname(folder)));
  try {
    mkdirSync(`${above.at}/${basename(folder)}`, { mode: 0o700 });
    const { uid, gid, mode } = fstatSync(above.handle);
    const made = hold(realPath(folder));
    if (process.getuid?.() === 0) fchownSync(made.handle, uid, gid);
    fchmodSync(made.handle, mode & 0o755);
    made.release();
  } finally {
    above.release();
  }
}

/** A directory that nobody else may write to, held open: who owns the one above could put another in its place. */
function stage(directory: string): HeldDirectory {
  makeFolder(dirname(directory));
  if (!existsSync(directory)) mkdirSync(directory, { mode: 0o700 });
  const staged = hold(realPath(directory));
  if (process.getuid?.() === 0) fchownSync(staged.handle, 0, 0);
  fchmodSync(staged.handle, 0o700);
  if (readdirSync(staged.at).length === 0) return staged;
  throw new Failure(`${directory} was filled by another while this ran`, {
    next: 'see who did, and run it again',
  });
}

function discard(directory: string, staged: HeldDirectory): Promise<void> {
  staged.release();
  return removeTree(directory);
}

/** Fills a directory of ours, or leaves none. It is finished when it gets the attributes of its first entry. */
async function restoreTo(
  part: DirectoryPart,
  directory: string,
  recovery: Omit<Recovery, 'appDir'>,
  step: Step,
): Promise<{ staged: HeldDirectory; entries: Entry[] }> {
  const entries = await entriesOfPart(part, recovery);
  const staged = stage(directory);
  try {
    await rebuild(part, entries, staged.at, recovery, step);
    // One sync of the file system instead of an fsync for each of many small files.
    await recovery.host.run({ argv: ['sync', '-f', directory] });
  } catch (error) {
    // The failure to report is the first one; what is left of it is cleared by the next restore.
    await discard(directory, staged).catch(() => {});
    throw error;
  }
  step.note(`${count(part.files, 'file')}, ${bytes(part.bytesIn)}`);
  return { staged, entries };
}

/**
 * Puts back what was in the directory before the last restore on this host.
 * @returns the backup that had been restored, and where what it had brought is kept
 */
export function undoDirectory(
  part: string,
  stateDir: string,
  directory: string,
): { id: string; kept: string } {
  const id = readExchange(stateDir, part)?.id ?? '';
  return { id, kept: undoExchange(stateDir, part, directory, (of) => placesOf(directory).undone(of)) };
}
