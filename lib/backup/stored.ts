import { EXIT, Failure, Interrupted, messageOf } from '../failure.ts';
import { Damaged } from './files/fetch.ts';
import type { Stored } from './manifest.ts';
import type { Recovery } from './part.ts';
import { type Flow, measured } from './seal.ts';
import { Corrupted, Missing, type Store } from './store.ts';

/** Whether the backup itself is the trouble, not the way to it. */
export const isDamage = (error: unknown): error is Failure =>
  error instanceof Corrupted || error instanceof Damaged || error instanceof Missing;

/** For a check, which looks for damage: what finds some exits with 3. */
export async function asFinding<T>(act: () => Promise<T>): Promise<T> {
  try {
    return await act();
  } catch (error) {
    if (!isDamage(error)) throw error;
    throw new Failure(error.message, { exit: EXIT.problem, next: error.next ?? '', cause: error });
  }
}

/** The plain bytes of a stored object; the flow fails at its end when they are not what was stored. */
export async function openStored(
  object: Stored,
  part: string,
  { store, opener }: Pick<Recovery, 'store' | 'opener'>,
  onBytes?: (total: number) => void,
): Promise<Flow> {
  const { key } = object;
  const measure = measured(await store.get(key), onBytes);
  async function* verified(): AsyncGenerator<Uint8Array> {
    try {
      yield* measure.flow;
    } catch (error) {
      if (error instanceof Failure || error instanceof Interrupted) throw error;
      const next = 'see that the store answers, and run it again';
      const message = `part ${part}: reading ${store.address(key)} was cut off: ${messageOf(error)}`;
      throw new Failure(message, { next, cause: error });
    }
    refuseOther(object, part, store, measure.result());
  }
  return opener.open(verified(), key);
}

function refuseOther({ key, sha256, bytes }: Stored, part: string, store: Store, found: Omit<Stored, 'key'>) {
  if (found.sha256 === sha256) return;
  const what = found.bytes < bytes ? `is truncated: ${found.bytes} of ${bytes} bytes` : 'is corrupted';
  throw new Corrupted(`part ${part}: ${store.address(key)} ${what}`);
}

/**
 * Does what uses a stored object. What age or zstd say of broken bytes does not tell that they are broken: the object
 * is read once more to see whether it is what was stored.
 * @throws Corrupted where it is not, else what `act` threw
 */
export async function usingStored<T>(
  object: Stored,
  part: string,
  { store }: Pick<Recovery, 'store'>,
  act: () => Promise<T>,
): Promise<T> {
  try {
    return await act();
  } catch (error) {
    if (!isSymptom(error)) throw error;
    const found = await measureStored(object, store).catch(() => undefined);
    if (found) refuseOther(object, part, store, found);
    throw error;
  }
}

/** "Encrypted to another key" is what age says of a broken header too. */
const isSymptom = (error: unknown) =>
  error instanceof Failure
    ? error.exit === EXIT.usage && error.cause !== undefined
    : !(error instanceof Interrupted);

async function measureStored({ key }: Stored, store: Store): Promise<Omit<Stored, 'key'>> {
  const measure = measured(await store.get(key));
  for await (const _ of measure.flow);
  return measure.result();
}
