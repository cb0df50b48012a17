import { existsSync } from 'node:fs';
import type { Work } from '../part.ts';
import { type Contents, contentKey, suffixOf } from './contents.ts';
import { copyOf, keepTree } from './lists.ts';
import { measureOf, SMALL } from './read.ts';
import { storeContent } from './upload.ts';

/** Stores the list of all that a part has, as a content of its own, and keeps a copy of it here. */
export async function storeTree(
  lines: readonly string[],
  { store, sealer, stateDir }: Work,
  contents: Contents,
): Promise<{ key: string; bytes: number; sha256: string }> {
  const tree = Buffer.from(lines.join(''));
  const measure = measureOf(tree);
  await storeContent({ store, sealer, contents }, measure, tree.length <= SMALL ? tree : () => once(tree));
  const { sha256 } = measure;
  if (stateDir !== undefined && !existsSync(copyOf(stateDir, sha256))) keepTree(stateDir, sha256, tree);
  return { key: contentKey(sha256, suffixOf(sealer)), ...measure };
}

async function* once(tree: Buffer): AsyncGenerator<Uint8Array> {
  const part = 1 << 20;
  for (let at = 0; at < tree.length; at += part) yield tree.subarray(at, at + part);
}
