import type { TableRows } from './manifest.ts';

/** What two countings disagree on, a line each. */
export function differences(expected: readonly TableRows[], found: readonly TableRows[]): string[] {
  const lines: string[] = [];
  for (const { table, rows, exact } of expected) {
    const now = found.find((t) => t.table === table);
    if (!now) lines.push(`table ${table} is missing`);
    else if (exact && now.rows !== rows)
      lines.push(`table ${table} has ${now.rows} rows, was backed up with ${rows}`);
  }
  for (const { table } of found) {
    if (!expected.some((t) => t.table === table))
      lines.push(`table ${table} is not in the backup's manifest`);
  }
  return lines;
}
