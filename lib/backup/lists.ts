import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import { bytes, count } from '../format.ts';
import type { Step } from '../output.ts';
import { folderIn, gathered, readKept, removeOthers, writeWhole } from '../state.ts';
import {
  type Contents,
  contentKey,
  type Known,
  type Memory,
  openContents,
  recall,
  remember,
  suffixOf,
} from './contents.ts';
import type { Decrypter } from './encryption.ts';
import type { BucketPart, DirectoryPart, Source, Work } from './manifest.ts';
import { measureOf, SMALL } from './read.ts';
import type { Store } from './store.ts';
import { fetchWhole, storeContent } from './transfer.ts';
import { contentsOfTree } from './tree.ts';

/** Parts whose files are contents, listed by a tree. */
export type FilesPart = DirectoryPart | BucketPart;

export interface Reader {
  store: Store;
  decrypter: Decrypter;
  /** Where copies of the trees are that this host wrote; without it the store is read. */
  stateDir?: string | undefined;
}

/** What the keys of a part's contents end with: what its tree's ends with. */
export function suffixOfPart({ tree }: FilesPart): string {
  return tree.key.slice(contentKey(tree.sha256, '').length);
}

/** Keeps a copy of a tree here: a host that may not read its backups can still know what they reference. */
function keepTree(stateDir: string, sha256: string, tree: Buffer): void {
  writeWhole(copyOf(stateDir, sha256), [zstdCompressSync(tree)]);
}

/** Removes the copies of trees that `kept` does not name. */
export function forgetTrees(stateDir: string, kept: ReadonlySet<string>): void {
  removeOthers(`${stateDir}/trees`, (name) => kept.has(name.slice(0, 64)));
}

/**
 * The tree of a part, whole and checked against its hash.
 * @throws Failure when it is neither here nor may be read from the store; Damaged when it is missing or another there
 */
export async function readTree(part: FilesPart, { store, decrypter, stateDir }: Reader): Promise<Buffer> {
  const { key, sha256, bytes } = part.tree;
  const copy = stateDir === undefined ? undefined : copiedTree(stateDir, sha256);
  if (copy) return copy;
  return fetchWhole(
    { store, decrypter },
    { key, measure: { sha256, bytes }, label: `${part.name}: its list of files` },
  );
}

/** The key of every content that a part references, its tree's among them. */
export async function contentOf(part: FilesPart, reader: Reader): Promise<Set<string>> {
  const suffix = suffixOfPart(part);
  const keys = new Set([part.tree.key]);
  for (const sha256 of contentsOfTree(await readTree(part, reader), part).keys())
    keys.add(contentKey(sha256, suffix));
  return keys;
}

/** Where the copy of a tree is kept. */
const copyOf = (stateDir: string, sha256: string) => `${folderIn(stateDir, 'trees')}/${sha256}.jsonl.zst`;

/** The copy of a tree that this host wrote, or nothing. */
export function copiedTree(stateDir: string, sha256: string): Buffer | undefined {
  try {
    const tree = zstdDecompressSync(readKept(copyOf(stateDir, sha256)) ?? '');
    return measureOf(tree).sha256 === sha256 ? tree : undefined;
  } catch {
    return undefined;
  }
}

/** Stores the list of all that a part has, as a content of its own, and keeps a copy of it here. */
async function storeTree(
  lines: Iterable<string>,
  { store, encrypter, stateDir }: Work,
  contents: Contents,
): Promise<{ key: string; bytes: number; sha256: string }> {
  const hash = createHash('sha256');
  const chunks: Buffer[] = [];
  let bytes = 0;
  for (const chunk of gathered(lines)) {
    hash.update(chunk);
    chunks.push(chunk);
    bytes += chunk.length;
  }
  const measure = { bytes, sha256: hash.digest('hex') };
  const { sha256 } = measure;
  await storeContent(
    { store, encrypter, contents },
    measure,
    bytes <= SMALL
      ? Buffer.concat(chunks)
      : async function* () {
          yield* chunks;
        },
  );
  if (stateDir !== undefined && !existsSync(copyOf(stateDir, sha256))) {
    keepTree(stateDir, sha256, Buffer.concat(chunks));
  }
  return { key: contentKey(sha256, suffixOf(encrypter)), ...measure };
}

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
  const contents = await openContents({ store: work.store, suffix: suffixOf(work.encrypter) }, memory);
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

function placeOf(part: Source, { stateDir, store, encrypter }: Work) {
  return stateDir === undefined ? undefined : { stateDir, part, store, suffix: suffixOf(encrypter) };
}
