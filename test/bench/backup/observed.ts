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
    kinds.set(kind, Math.max(kinds.get(kind) ?? 0, seen.peak / 1e6));
  }
  return [...kinds].map(([kind, peak]) => ({
    what: `peak memory, ${kind}`,
    ours: `${peak.toFixed(0)} MB`,
    ratio: (peak / MEMORY_TARGET).toFixed(2),
    target: `< ${MEMORY_TARGET} MB`,
    verdict: peak < MEMORY_TARGET ? 'reached' : `missed by ${(peak - MEMORY_TARGET).toFixed(0)} MB`,
  }));
}

/** Whether the script, what it started, or pg_dump in its container ever had a file open to write the dump to. */
export function temporaryRow(observed: readonly Observed[], store: string): Row {
  const files = new Map<string, number>();
  for (const { seen } of observed) {
    for (const [path, size] of seen.written) {
      if (path.startsWith(`${store}/`)) continue;
      files.set(path, Math.max(files.get(path) ?? 0, size));
    }
  }
  const large = [...files].filter(([, size]) => size > OWN_NOTES).map(([path]) => path);
  const largest = Math.max(0, ...files.values());
  return {
    what: `temporary files (open for writing outside the store, ${observed.length} runs)`,
    ours: large.length > 0 ? large.join(', ') : `none; largest of ${files.size} other files: ${largest} B`,
    target: 'none',
    verdict: large.length > 0 ? 'missed' : 'reached',
  };
}
