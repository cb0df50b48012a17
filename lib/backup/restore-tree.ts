import type { Step } from '../output.ts';
import { forEach } from '../pool.ts';
import { contentKey } from './blobs.ts';
import type { Flow } from './encryption.ts';
import type { Recovery, Restored } from './manifest.ts';
import { contentFlow, fetchWhole } from './transfer.ts';
import { type FilesPart, suffixOfPart } from './tree.ts';

interface Restoring<T> {
  entries: readonly T[];
  /** As messages name it. */
  nameOf: (entry: T) => string;
  /** Contents up to this size are put whole, larger ones as a flow. */
  small: number;
  /** Bytes of memory that a flow takes. */
  flowMemory: number;
  put: (entry: T, content: Buffer | Flow) => Promise<void>;
}

/**
 * Puts the content of each entry of a tree where it belongs, many at once. Each one's SHA-256 is checked.
 * @throws Failure naming part, entry and key when a content is missing or not what it was
 */
export async function restoreContents<T extends { size: number; sha256: string }>(
  part: FilesPart,
  access: Pick<Recovery, 'store' | 'decrypter' | 'signal'>,
  step: Step,
  { entries, nameOf, small, flowMemory, put }: Restoring<T>,
): Promise<void> {
  const suffix = suffixOfPart(part);
  let done = 0;
  await forEach(entries, {
    signal: access.signal,
    weigh: ({ size }) => (size > small ? flowMemory : size),
    act: async (entry) => {
      const { sha256, size } = entry;
      const label = `${part.name}: ${nameOf(entry)}`;
      const wanted = { key: contentKey(sha256, suffix), measure: { sha256, bytes: size }, label };
      await put(entry, size > small ? contentFlow(access, wanted) : await fetchWhole(access, wanted));
      done += 1;
      step.progress({ done, total: entries.length, unit: 'files' });
    },
  });
}

/** So many differences are reported one by one. */
const REPORTED = 20;

/** What differs from a tree, a line each; of many, the first. */
export function firstOf(differences: readonly string[]): string[] {
  const more = differences.length - REPORTED;
  return more > 0 ? [...differences.slice(0, REPORTED), `and ${more} more`] : [...differences];
}

/** Of a part that is restored somewhere else than to its live place: it stays there. */
export const STAYS: Pick<Restored, 'swapIn' | 'swapBack'> = {
  swapIn: async () => '',
  swapBack: async () => {},
};
