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
  type PartState,
  readState,
  SMALL,
  suffixOf,
  writeState,
} from './blobs.ts';
import { type Flow, type Measure, measured } from './encryption.ts';
import type { Prepared, Source, Stored, Work } from './manifest.ts';
import { memoryFor, storeContent } from './transfer.ts';
import { copyOf, type FilesPart } from './tree.ts';

/** The tree of a part: its lines, and how many entries of which type they are. */
interface Tree {
  lines: Iterable<string>;
  numbers: { files: number; directories: number; symlinks: number; bytesIn: number };
}

/**
 * A part whose contents are stored once under their SHA-256, and listed by a tree.
 * @param reading says in the plan what is read
 * @param saveContents stores all contents by the saver, and returns their tree
 */
export function prepareTree(
  source: Source,
  work: Work,
  reading: string,
  saveContents: (saver: Saver) => Promise<Tree>,
): Prepared {
  const { kind, name, uri } = source;
  const { store, encrypter, stateDir, id } = work;
  const suffix = suffixOf(encrypter);
  const stateOf = stateDir === undefined ? undefined : { stateDir, part: source, store, suffix };
  let saver: Saver | undefined;
  let record: FilesPart | undefined;
  return {
    source,
    plan: [reading, `store each content that is not there yet at ${store.address('content/')}`],
    async save(step) {
      const last = stateOf && readState(stateOf);
      const blobs = await openBlobs({ store, suffix }, last);
      saver = new Saver(work, blobs, last, step);
      const { lines, numbers } = await saveContents(saver);
      const { count: contents, bytes: stored } = blobs.added;
      const tree = await storeTree(lines, work, blobs);
      step.note(
        `${count(numbers.files, 'file')}, ${bytes(numbers.bytesIn)}; ` +
          `new: ${count(contents, 'content')}, ${bytes(stored)}` +
          (saver.gone > 0 ? `; ${count(saver.gone, 'file')} vanished meanwhile` : ''),
      );
      record = { kind, name, source: uri, ...numbers, bytesOut: blobs.added.bytes, tree } as FilesPart;
      return record;
    },
    confirm: async () => saver?.blobs.confirm(),
    async committed() {
      if (!stateOf || !saver || !record) return;
      const { tree, files } = record;
      writeState(stateOf, { backup: id, tree: tree.sha256, files, known: saver.known });
    },
  };
}

/** Stores the tree as a content of its own. A copy stays here: a host that may not read its backups needs it. */
async function storeTree(
  lines: Iterable<string>,
  { store, encrypter, stateDir }: Work,
  contents: Blobs,
): Promise<Stored> {
  const chunks = [...gathered(lines)];
  const tree = Buffer.concat(chunks);
  const measure = measureOf(tree);
  async function* flow(): AsyncGenerator<Uint8Array> {
    yield* chunks;
  }
  await storeContent({ store, encrypter, contents }, measure, tree.length <= SMALL ? tree : flow);
  const copy = stateDir === undefined ? undefined : copyOf(stateDir, measure.sha256);
  if (copy !== undefined && !existsSync(copy)) writeWhole(copy, [zstdCompressSync(tree)]);
  return { key: contentKey(measure.sha256, suffixOf(encrypter)), ...measure };
}

/** A file or object at one moment. */
export interface Reading {
  measure: Measure;
  /** Its bytes; those of a large one by reading it again. */
  content: Uint8Array | (() => Flow);
}

const TRIES = 3;

/** Stores the contents of a part: only what is new is read and stored. */
export class Saver {
  /** By path or key, what the next backup can trust. */
  readonly known = new Map<string, Known>();
  readonly blobs: Blobs;
  /** So many vanished before they could be read. */
  gone = 0;
  readonly #work: Work;
  readonly #last: PartState | undefined;
  readonly #step: Step;

  constructor(work: Work, blobs: Blobs, last: PartState | undefined, step: Step) {
    this.blobs = blobs;
    this.#work = work;
    this.#last = last;
    this.#step = step;
  }

  /** What the last backup had, where the stamp is the same and the content is still in the store. */
  unchanged(path: string, stamp: string, bytes: number): Known | undefined {
    const last = this.#last?.known.get(path);
    if (last?.stamp !== stamp || !this.blobs.hasStill({ sha256: last.sha256, bytes })) return undefined;
    this.known.set(path, last);
    return last;
  }

  /**
   * Does `act` for all that is new or changed, many at once.
   * @param total how many there are, with those that are unchanged
   * @param act returns false for what vanished before it could be read
   */
  async forEach<T extends { size: number }>(
    items: readonly T[],
    total: number,
    act: (item: T) => Promise<boolean>,
  ): Promise<void> {
    const { signal, encrypter } = this.#work;
    let done = total - items.length;
    this.#step.progress({ done, total, unit: 'files' });
    await forEach(items, {
      signal,
      weigh: ({ size }) => memoryFor(size, SMALL, encrypter),
      act: async (item) => {
        if (!(await act(item))) this.gone += 1;
        done += 1;
        this.#step.progress({ done, total, unit: 'files' });
      },
    });
  }

  /**
   * Stores the content of a file or object, which may be written to meanwhile: it is read again then.
   * @param label names it in messages
   * @param next what to do when it changes each time
   * @param read reads it as it is now; `changing` where it is being written to
   * @returns what was stored; nothing where it is gone
   * @throws Failure when it changes each time
   */
  async store<R extends Reading>(
    label: string,
    next: string,
    read: () => Promise<R | 'changing' | undefined>,
  ): Promise<R | undefined> {
    for (let attempt = 1; attempt <= TRIES; attempt += 1) {
      const reading = await read();
      if (reading === 'changing') continue;
      if (reading === undefined || (await this.#stores(reading))) return reading;
    }
    throw new Failure(`${label} changed while it was read, ${TRIES} times`, { next });
  }

  /** False where it changed while it was read again. */
  async #stores({ measure, content }: Reading): Promise<boolean> {
    const { store, encrypter } = this.#work;
    let changed = false;
    async function* checked(flow: () => Flow): AsyncGenerator<Uint8Array> {
      const again = measured(flow());
      yield* again.flow;
      changed = again.result().sha256 !== measure.sha256;
      if (changed) throw new Error('it changed while it was read');
    }
    const body = content instanceof Uint8Array ? content : () => checked(content);
    try {
      await storeContent({ store, encrypter, contents: this.blobs }, measure, body);
      return true;
    } catch (error) {
      // A store makes an error of its own of what the body throws: whether it changed is known here alone.
      if (!changed) throw error;
      return false;
    }
  }
}
