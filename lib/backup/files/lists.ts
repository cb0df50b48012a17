import { zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import { folderIn, readKept, removeOthers, writeWhole } from '../../keep.ts';
import type { BucketPart, DirectoryPart } from '../manifest.ts';
import type { Opener } from '../seal.ts';
import type { Store } from '../store.ts';
import { contentKey } from './contents.ts';
import { fetchWhole } from './fetch.ts';
import { measureOf } from './read.ts';
import { contentsOfTree } from './tree.ts';

/** Parts whose files are contents, listed by a tree. */
export type FilesPart = DirectoryPart | BucketPart;

export interface Reader {
  store: Store;
  opener: Opener;
  /** Where copies of the trees are that this host wrote; without it the store is read. */
  stateDir?: string | undefined;
}

/** What the keys of a part's contents end with: what its tree's ends with. */
export function suffixOfPart({ tree }: FilesPart): string {
  return tree.key.slice(contentKey(tree.sha256, '').length);
}

/** Keeps a copy of a tree here: a host that may not read its backups can still know what they reference. */
export function keepTree(stateDir: string, sha256: string, tree: Buffer): void {
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
export async function readTree(part: FilesPart, { store, opener, stateDir }: Reader): Promise<Buffer> {
  const { key, sha256, bytes } = part.tree;
  const copy = stateDir === undefined ? undefined : copiedTree(stateDir, sha256);
  if (copy) return copy;
  return fetchWhole(
    { store, opener },
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
export const copyOf = (stateDir: string, sha256: string) =>
  `${folderIn(stateDir, 'trees')}/${sha256}.jsonl.zst`;

/** The copy of a tree that this host wrote, or nothing. */
export function copiedTree(stateDir: string, sha256: string): Buffer | undefined {
  try {
    const tree = zstdDecompressSync(readKept(copyOf(stateDir, sha256)) ?? '');
    return measureOf(tree).sha256 === sha256 ? tree : undefined;
  } catch {
    return undefined;
  }
}
