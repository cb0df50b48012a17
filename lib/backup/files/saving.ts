import { bytes, count } from '../../format.ts';
import type { Step } from '../../report.ts';
import type { Source, Work } from '../part.ts';
import { type Contents, openContents, suffixOf } from './contents.ts';
import type { FilesPart } from './lists.ts';
import { type Known, type Memory, recall, remember } from './memory.ts';
import { storeTree } from './store-tree.ts';

/** What a part is saved with: what was stored before, and what can be trusted the next time. */
export interface Saving {
  source: Source;
  work: Work;
  contents: Contents;
  /** By path or key, what the last backup had. */
  before: ReadonlyMap<string, Known>;
  /** By path or key, what this one has and the next can trust. */
  known: Map<string, Known>;
  /** So many vanished before they could be read. */
  gone: number;
}

/** A part that is stored, but for the manifest. */
export interface Saved {
  record: FilesPart;
  /** @throws Failure when something that it references is not in the store any more */
  confirm(): Promise<void>;
  /** Remembers what is stored; to be called when the manifest is. */
  committed(): Promise<void>;
}

interface Numbers {
  files: number;
  directories: number;
  symlinks: number;
  bytesIn: number;
}

export async function beginSaving(
  source: Source,
  work: Work,
): Promise<Saving & { memory: Memory | undefined }> {
  const place = placeOf(source, work);
  const memory = place && recall(place);
  const contents = await openContents({ store: work.store, suffix: suffixOf(work.sealer) }, memory);
  return { source, work, contents, memory, before: memory?.known ?? new Map(), known: new Map(), gone: 0 };
}

/** Stores the tree. */
export async function endSaving(
  { source, work, contents, known, gone }: Saving,
  lines: Iterable<string>,
  numbers: Numbers,
  step: Step,
): Promise<Saved> {
  const added = { ...contents.added };
  const tree = await storeTree(lines, work, contents);
  const { files, bytesIn } = numbers;
  step.note(
    `${count(files, 'file')}, ${bytes(bytesIn)}; new: ${count(added.count, 'content')}, ${bytes(added.bytes)}` +
      (gone > 0 ? `; ${count(gone, 'file')} vanished meanwhile` : ''),
  );
  const { kind, name, uri } = source;
  const place = placeOf(source, work);
  return {
    record: { kind, name, source: uri, ...numbers, bytesOut: contents.added.bytes, tree } as FilesPart,
    confirm: contents.confirm,
    committed: async () => {
      if (place) remember(place, { backup: work.id, tree: tree.sha256, files, known });
    },
  };
}

function placeOf(part: Source, { stateDir, store, sealer }: Work) {
  return stateDir === undefined ? undefined : { stateDir, part, store, suffix: suffixOf(sealer) };
}
