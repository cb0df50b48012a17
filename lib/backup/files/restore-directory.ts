import { mkdirSync, readdirSync } from 'node:fs';
import { checkAll, EXIT, Failure } from '../../failure.ts';
import { bytes, count } from '../../format.ts';
import type { Step } from '../../report.ts';
import type { DirectoryPart } from '../manifest.ts';
import type { Recovery, Restored, Restorer } from '../part.ts';
import { enoughSpace } from '../space.ts';
import { differences } from './differences.ts';
import { putBack, readExchange, settle, swapIn, undoExchange } from './exchange.ts';
import { checkPlaces, clearLeftovers, nearest, type Places, placesOf, removeTree } from './places.ts';
import { entriesOfPart, rebuild } from './rebuild.ts';
import { attributesOf, namesOf } from './swap.ts';
import type { Entry } from './tree.ts';

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
      settle(stateDir, name);
      const places = placesOf(directory);
      await clearLeftovers(places);
      const beside = places.beside(id);
      const entries = await restoreTo(part, beside, recovery, step);
      return {
        place: beside,
        compare: () => differences(beside, entries, signal),
        discard: () => removeTree(beside),
        ...swapping(part, places, beside, entries, recovery),
      };
    },
  };
}

function swapping(
  { name }: DirectoryPart,
  places: Places,
  beside: string,
  [root]: readonly Entry[],
  { id, stateDir }: Recovery,
): Pick<Restored, 'swapIn' | 'swapBack'> {
  return {
    async swapIn() {
      const { live, exists } = places;
      const becomes = root ?? attributesOf(beside);
      const before = places.before(id);
      const was = exists ? attributesOf(live) : becomes;
      const incoming = namesOf(beside);
      swapIn(stateDir, { part: name, id, live, created: !exists, beside, before, incoming, was, becomes });
      return exists ? before : '';
    },
    async swapBack() {
      const exchange = readExchange(stateDir, name);
      if (exchange) putBack(stateDir, exchange);
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
      const entries = await restoreTo(part, target, recovery, step);
      return {
        place: target,
        compare: () => differences(target, entries, recovery.signal),
        discard: () => removeTree(target),
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

/** Fills a directory of ours, or leaves none. */
async function restoreTo(
  part: DirectoryPart,
  directory: string,
  recovery: Omit<Recovery, 'appDir'>,
  step: Step,
): Promise<Entry[]> {
  const entries = await entriesOfPart(part, recovery);
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  try {
    await rebuild(part, entries, directory, recovery, step);
  } catch (error) {
    // The failure to report is the first one; what is left of it is cleared by the next restore.
    await removeTree(directory).catch(() => {});
    throw error;
  }
  step.note(`${count(part.files, 'file')}, ${bytes(part.bytesIn)}`);
  return entries;
}

/**
 * Puts back what was in the directory before the last restore on this host.
 * @returns the backup that had been restored, and where what it had brought is kept
 */
export function undoDirectory(part: string, stateDir: string): { id: string; kept: string } {
  const exchange = readExchange(stateDir, part);
  const id = exchange?.id ?? '';
  return { id, kept: undoExchange(stateDir, part, (of) => placesOf(exchange?.live ?? '/').undone(of)) };
}
