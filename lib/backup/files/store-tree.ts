import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { gathered } from '../../keep.ts';
import type { Work } from '../part.ts';
import { type Contents, contentKey, suffixOf } from './contents.ts';
import { copyOf, keepTree } from './lists.ts';
import { SMALL } from './read.ts';
import { storeContent } from './upload.ts';

/** Stores the list of all that a part has, as a content of its own, and keeps a copy of it here. */
export async function storeTree(
  lines: Iterable<string>,
  { store, sealer, stateDir }: Work,
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
    { store, sealer, contents },
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
  return { key: contentKey(sha256, suffixOf(sealer)), ...measure };
}
