import { forEach } from '../../pool.ts';
import type { Step } from '../../report.ts';
import type { Opener } from '../seal.ts';
import type { Listed, Store } from '../store.ts';
import { isDamage } from '../stored.ts';
import { contentKey } from './contents.ts';
import { contentFlow, Damaged } from './fetch.ts';
import { copiedTree, type FilesPart, readTree, suffixOfPart } from './lists.ts';
import { type Content, contentsOfTree } from './tree.ts';

interface Reading {
  store: Store;
  opener: Opener;
  signal: AbortSignal;
}

/**
 * Reads every content of a part from the store and compares its SHA-256.
 * @returns a line for each that is missing, truncated or another, with a file that it belongs to
 */
export async function checkContent(part: FilesPart, reading: Reading, step: Step): Promise<string[]> {
  let contents: Content[];
  try {
    const { store, opener } = reading;
    contents = [...contentsOfTree(await readTree(part, { store, opener }), part).values()];
  } catch (error) {
    if (isDamage(error)) return [error.message];
    throw error;
  }
  const total = contents.length;
  const suffix = suffixOfPart(part);
  const problems: string[] = [];
  let done = 0;
  await forEach(contents, {
    signal: reading.signal,
    act: async ({ sha256, bytes, path }) => {
      const label = `${part.name}: ${path}`;
      const wanted = { key: contentKey(sha256, suffix), measure: { sha256, bytes }, label };
      try {
        for await (const _ of contentFlow(reading, wanted));
      } catch (error) {
        if (!isDamage(error)) throw error;
        problems.push(error instanceof Damaged ? error.message : `${label}: ${error.message}`);
      }
      done += 1;
      step.progress({ done, total, unit: 'files' });
    },
  });
  return problems.sort();
}

/**
 * Looks in a listing whether every content of a part is there and long enough, for those who may not read it. Without
 * the copy of the tree that the host keeps which took the backup, only the tree is looked for.
 */
export async function checkPresence(
  part: FilesPart,
  { store, stateDir }: { store: Store; stateDir: string },
): Promise<string[]> {
  const tree = copiedTree(stateDir, part.tree.sha256);
  const wanted: Content[] = [{ ...part.tree, path: 'its list of files' }];
  if (tree) wanted.push(...contentsOfTree(tree, part).values());
  const there = new Map<string, Listed>();
  for await (const object of store.list('content/')) there.set(object.key, object);
  const suffix = suffixOfPart(part);
  return wanted.flatMap(({ sha256, bytes, path }) => {
    const key = contentKey(sha256, suffix);
    const found = there.get(key);
    const content = `${part.name}: ${path}: its content ${store.address(key)}`;
    if (!found) return [`${content} is missing`];
    return found.bytes < bytes ? [`${content} has ${found.bytes} of ${bytes} bytes`] : [];
  });
}
