import { Failure } from '../failure.ts';
import type { Stored } from './manifest.ts';
import type { Recovery } from './part.ts';
import { type Flow, measured } from './seal.ts';

/** What is in the store is not what was put there. */
export class Corrupted extends Failure {
  constructor(message: string) {
    super(message, { next: 'restore another backup: npx tsx scripts/backup/list.ts' });
  }
}

/** The plain bytes of a stored object; the flow fails at its end when they are not what was stored. */
export async function openStored(
  { key, sha256, bytes }: Stored,
  part: string,
  { store, opener }: Pick<Recovery, 'store' | 'opener'>,
  onBytes?: (total: number) => void,
): Promise<Flow> {
  const measure = measured(await store.get(key), onBytes);
  async function* verified(): AsyncGenerator<Uint8Array> {
    yield* measure.flow;
    const found = measure.result();
    if (found.sha256 === sha256) return;
    const what = found.bytes < bytes ? `is truncated: ${found.bytes} of ${bytes} bytes` : 'is corrupted';
    throw new Corrupted(`part ${part}: ${store.address(key)} ${what}`);
  }
  return opener.open(verified(), key);
}
