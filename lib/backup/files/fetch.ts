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
 * Reads a content from the store and hands its bytes to `write`; they are checked when all have been handed over.
 * @throws Damaged when it is missing, truncated or another
 */
export async function fetchContent(
  { store, opener }: { store: Store; opener: Opener },
  { key, measure, label }: Wanted,
  write: (chunk: Uint8Array) => Promise<void> | void,
): Promise<void> {
  const damaged = (how: string, cause?: unknown) =>
    new Damaged(`${label}: its content ${store.address(key)} ${how}`, {
      next: 'restore it from another backup: npx tsx scripts/backup/list.ts',
      cause,
    });
  let found: Measure;
  try {
    const reading = measured(await opener.open(await store.get(key), key));
    for await (const chunk of reading.flow) await write(chunk);
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
