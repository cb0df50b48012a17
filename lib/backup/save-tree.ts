import { existsSync } from 'node:fs';
import { zstdCompressSync } from 'node:zlib';
import { Failure } from '../failure.ts';
import { bytes, count } from '../format.ts';
import type { Step } from '../output.ts';
import { forEach } from '../pool.ts';
import { gathered, writeWhole } from '../state.ts';
import {
  type Blobs,
  contentKey,
  type Known,
  measureOf,
  openBlobs,
  readState,
  SMALL,
  suffixOf,
  writeState,
} from './blobs.ts';
import { type Flow, type Measure, measured } from './encryption.ts';
import type { Prepared, Source, Stored, Work } from './manifest.ts';
import { memoryFor, storeContent } from './transfer.ts';
import { copyOf, type FilesPart } from './tree.ts';

/** What saves the contents of a part: only what is new is read and stored. */
export interface Saver {
  /** By path or key, what the next backup can trust. */
  readonly known: Map<string, Known>;
  /** What the last backup had, where the stamp is the same and the content is still in the store. */
  unchanged(path: string, stamp: string, bytes: number): Known | undefined;
  /** Does `act` for all that is new or changed; it returns false for what vanished before it could be read. */
  forEach<T extends { size: number }>(
    items: readonly T[],
    total: number,
    act: (item: T) => Promise<boolean>,
  ): Promise<void>;
  /**
   * Stores the content of a file or object, which may be written to meanwhile: it is read again then.
   * @param label names it in messages
   * @param next what to do when it changes each time, which throws a Failure
   * @param read reads it as it is now; `changing` where that cannot be said
   * @returns what was stored; nothing where it is gone
   */
  store<R extends Reading>(
    label: string,
    next: string,
    read: () => Promise<R | 'changing' | undefined>,
  ): Promise<R | undefined>;
}

/** A file or object at one moment. */
export interface Reading {
  measure: Measure;
  /** Its bytes; those of a large one by reading it again. */
  content: Uint8Array | (() => Flow);
}

/** The tree of a part: its lines, and how many entries of which type they are. */
interface Tree {
  lines: Iterable<string>;
  numbers: { files: number; directories: number; symlinks: number; bytesIn: number };
}

/**
 * A part whose contents are stored once under their SHA-256, and listed by a tree.
 * @param save stores all contents by the saver, and returns their tree
 */
export function prepareTree(
  source: Source,
  work: Work,
  reading: string,
  save: (saver: Saver) => Promise<Tree>,
): Prepared {
  const { store, sealer, stateDir, signal, id } = work;
  const suffix = suffixOf(sealer);
  const stateOf = stateDir === undefined ? undefined : { stateDir, part: source, store, suffix };
  const known = new Map<string, Known>();
  let blobs: Blobs | undefined;
  let record: FilesPart | undefined;

  async function savePart(step: Step): Promise<FilesPart> {
    const last = stateOf && readState(stateOf);
    const contents = await openBlobs({ store, suffix }, last);
    blobs = contents;
    let gone = 0;
    const { lines, numbers } = await save({
      known,
      unchanged(path, stamp, bytes) {
        const before = last?.known.get(path);
        if (before?.stamp !== stamp || !contents.hasStill({ sha256: before.sha256, bytes })) return undefined;
        known.set(path, before);
        return before;
      },
      async forEach(items, total, act) {
        let done = total - items.length;
        step.progress({ done, total, unit: 'files' });
        await forEach(items, {
          signal,
          weigh: ({ size }) => memoryFor(size, SMALL, sealer),
          act: async (item) => {
            if (!(await act(item))) gone += 1;
            done += 1;
            step.progress({ done, total, unit: 'files' });
          },
        });
      },
      store: (label, next, read) => storeStable({ store, sealer, contents }, label, next, read),
    });
    const added = { ...contents.added };
    const tree = await storeTree(lines, work, contents);
    step.note(
      `${count(numbers.files, 'file')}, ${bytes(numbers.bytesIn)}; ` +
        `new: ${count(added.count, 'content')}, ${bytes(added.bytes)}` +
        (gone > 0 ? `; ${count(gone, 'file')} vanished meanwhile` : ''),
    );
    const { kind, name, uri } = source;
    return { kind, name, source: uri, ...numbers, bytesOut: contents.added.bytes, tree } as FilesPart;
  }

  return {
    source,
    plan: [reading, `store each content that is not there yet at ${store.address('content/')}`],
    async save(step) {
      record = await savePart(step);
      return record;
    },
    confirm: async () => blobs?.confirm(),
    async committed() {
      if (!stateOf || !record) return;
      writeState(stateOf, { backup: id, tree: record.tree.sha256, files: record.files, known });
    },
  };
}

const TRIES = 3;

async function storeStable<R extends Reading>(
  where: Parameters<typeof storeContent>[0],
  label: string,
  next: string,
  read: () => Promise<R | 'changing' | undefined>,
): Promise<R | undefined> {
  for (let attempt = 1; attempt <= TRIES; attempt += 1) {
    const reading = await read();
    if (reading === undefined) return undefined;
    if (reading === 'changing') continue;
    const { measure, content } = reading;
    let changed = false;
    async function* checked(flow: () => Flow): AsyncGenerator<Uint8Array> {
      const again = measured(flow());
      yield* again.flow;
      changed = again.result().sha256 !== measure.sha256;
      if (changed) throw new Error('it changed while it was read');
    }
    try {
      const flow = content instanceof Uint8Array ? content : () => checked(content);
      await storeContent(where, measure, flow);
      return reading;
    } catch (error) {
      // A store makes an error of its own of what the body throws: whether it changed is known here alone.
      if (!changed) throw error;
    }
  }
  throw new Failure(`${label} changed while it was read, ${TRIES} times`, { next });
}

/** Stores the tree as a content of its own. A copy stays here: a host that may not read its backups needs it. */
async function storeTree(
  lines: Iterable<string>,
  { store, sealer, stateDir }: Work,
  contents: Blobs,
): Promise<Stored> {
  const chunks = [...gathered(lines)];
  const tree = Buffer.concat(chunks);
  const measure = measureOf(tree);
  async function* flow(): AsyncGenerator<Uint8Array> {
    yield* chunks;
  }
  await storeContent({ store, sealer, contents }, measure, tree.length <= SMALL ? tree : flow);
  const copy = stateDir === undefined ? undefined : copyOf(stateDir, measure.sha256);
  if (copy !== undefined && !existsSync(copy)) writeWhole(copy, [zstdCompressSync(tree)]);
  return { key: contentKey(measure.sha256, suffixOf(sealer)), ...measure };
}
