import { Failure, Interrupted, messageOf } from '../../failure.ts';
import { type Measure, measured, type Opener } from '../seal.ts';
import { Missing, type Store } from '../store.ts';

/** A content that is not in the store, or not what it was. */
export class Damaged extends Failure {}

interface Wanted {
  key: string;
  measure: Measure;
  /** Names what it belongs to: part and file. */
  label: string;
}

/**
 * The bytes of a content in the store; they are checked when all of them have flowed.
 * @throws Damaged when it is missing, truncated or another
 */
export async function* contentFlow(
  { store, opener }: { store: Store; opener: Opener },
  { key, measure, label }: Wanted,
): AsyncGenerator<Uint8Array> {
  const damaged = (how: string, cause?: unknown) =>
    new Damaged(`${label}: its content ${store.address(key)} ${how}`, {
      next: 'restore it from another backup: npx tsx scripts/backup/list.ts',
      cause,
    });
  let found: Measure;
  try {
    const reading = measured(await opener.open(await store.get(key), key));
    yield* reading.flow;
    found = reading.result();
  } catch (error) {
    if (error instanceof Missing) throw damaged('is missing', error);
    if (isOther(error)) throw error;
    // What age and the SDK's own checksum throw about bytes that are not what was stored.
    throw damaged(`is damaged (${messageOf(error)})`, error);
  }
  if (found.bytes !== measure.bytes) throw damaged(`has ${found.bytes} of ${measure.bytes} bytes`);
  if (found.sha256 !== measure.sha256) throw damaged(`is damaged: its SHA-256 is ${found.sha256}`);
}

/** A content that fits into memory, whole and checked. */
export async function fetchWhole(from: Parameters<typeof contentFlow>[0], wanted: Wanted): Promise<Buffer> {
  return Buffer.concat(await Array.fromAsync(contentFlow(from, wanted)));
}

/** Whether the store, the disk or a signal is behind an error, not the bytes. */
function isOther(error: unknown): boolean {
  const { name, code, $metadata } = error as NodeJS.ErrnoException & { $metadata?: unknown };
  return (
    error instanceof Failure ||
    error instanceof Interrupted ||
    name === 'AbortError' ||
    name === 'TimeoutError' ||
    $metadata !== undefined ||
    (code !== undefined && !code.startsWith('ERR_'))
  );
}
