import type { Row } from '../table.ts';
import type { Observed } from './ours.ts';

const MEMORY_TARGET = 200;
/** The lock, the memory of the last backup and the manifest's copy are smaller than this. */
const OWN_NOTES = 64 * 1024;

/** Peak memory of the script's process: the most of all runs, for each store. */
export function memoryRows(observed: readonly Observed[]): Row[] {
  const kinds = new Map<string, number>();
  for (const { target, encrypted, database, seen } of observed) {
    const kind = `${encrypted ? 'encrypted, ' : ''}${target}, ${database.replace('bench_', '')} MB`;
    kinds.set(kind, Math.max(kinds.get(kind) ?? 0, seen.peak));
  }
  return [...kinds].map(([kind, peak]) => peakRow(kind, peak));
}

/** The row of a peak of so many bytes. */
export function peakRow(kind: string, peak: number): Row {
  const megabytes = peak / 1e6;
  return {
    what: `peak memory, ${kind}`,
    ours: `${megabytes.toFixed(0)} MB`,
    ratio: (megabytes / MEMORY_TARGET).toFixed(2),
    target: `< ${MEMORY_TARGET} MB`,
    verdict: megabytes < MEMORY_TARGET ? 'reached' : `missed by ${(megabytes - MEMORY_TARGET).toFixed(0)} MB`,
  };
}

/** Whether the script, what it started, or pg_dump in its container ever had a file open to write the dump to. */
export function temporaryRow(observed: readonly Observed[], store: string): Row {
  const files = new Map<string, number>();
  const inStore = new Set<string>();
  for (const { seen } of observed) {
    for (const [path, size] of seen.written) {
      if (path.startsWith(`${store}/`)) inStore.add(path);
      else files.set(path, Math.max(files.get(path) ?? 0, size));
    }
  }
  const large = [...files].filter(([, size]) => size > OWN_NOTES).map(([path]) => path);
  const largest = Math.max(0, ...files.values());
  // A watcher that saw no file of a file:// store being written has proved nothing.
  const none = `none; largest of ${files.size} others: ${largest} B (seen of the store's own: ${inStore.size})`;
  const verdict = large.length > 0 ? 'missed' : inStore.size > 0 ? 'reached' : 'not proved';
  return {
    what: `temporary files (open for writing outside the store, ${observed.length} runs)`,
    ours: large.length > 0 ? large.join(', ') : none,
    target: 'none',
    verdict,
  };
}
