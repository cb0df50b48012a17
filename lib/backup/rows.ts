import { count } from '../format.ts';
import type { TableRows } from './manifest.ts';

/** Of older backups, the number of rows of a large table was an estimate: there is nothing to compare it with. */
const isCounted = ({ exact }: TableRows) => exact !== false;

/** What two countings disagree on, a line each. */
export function differences(expected: readonly TableRows[], found: readonly TableRows[]): string[] {
  const lines: string[] = [];
  for (const { table, rows, exact } of expected) {
    const now = found.find((t) => t.table === table);
    if (!now) lines.push(`table ${table} is missing`);
    else if (isCounted({ table, rows, exact }) && now.rows !== rows)
      lines.push(`table ${table} has ${now.rows} rows, was backed up with ${rows}`);
  }
  for (const { table } of found) {
    if (!expected.some((t) => t.table === table))
      lines.push(`table ${table} is not in the backup's manifest`);
  }
  return lines;
}

/** The rows that were counted, and which tables were not: an estimate is added to no count. */
export function describeRows(tables: readonly TableRows[]): string {
  const counted = tables.filter(isCounted);
  const others = tables.filter((t) => !isCounted(t)).map(({ table }) => table);
  const rows = counted.reduce((sum, t) => sum + t.rows, 0);
  const text = `${count(counted.length, 'table')}, ${count(rows, 'row')}`;
  return others.length > 0 ? `${text}; rows not compared: ${others.join(', ')}` : text;
}
