import type { Flow, Measure, Sealer } from '../seal.ts';
import { counted } from '../seal.ts';
import type { Store } from '../store.ts';
import type { Contents } from './contents.ts';

/** What a stream of a store may hold in memory: a few parts of an upload. */
const STREAM_MEMORY = 24e6;

interface Where {
  store: Store;
  sealer: Sealer;
  contents: Contents;
}

/** Stores a content unless it is in the store. */
export async function storeContent(
  { store, sealer, contents }: Where,
  measure: Measure,
  content: Uint8Array | (() => Flow),
): Promise<void> {
  await contents.add(measure, async (key) => {
    if (content instanceof Uint8Array) {
      const sealed = await sealer.sealBytes(content);
      await store.put(key, sealed);
      return sealed.byteLength;
    }
    const sealed = counted(await sealer.seal(content()));
    await store.putStream(key, sealed.flow, mostSealed(measure.bytes));
    return sealed.bytes();
  });
}

/** age adds a header and 16 bytes to each 64 KiB. */
const mostSealed = (bytes: number): number => bytes + 16 * Math.ceil(bytes / 65_536) + 2_048;

/** Memory that a content takes while it is stored. */
export function memoryFor(size: number, small: number, sealer: Sealer): number {
  if (size > small) return STREAM_MEMORY;
  return sealer.recipient === null ? size : 2 * size;
}
