/** `1234567` as `1.2 MB` (powers of 1000, as disks and S3 are sold). */
export function bytes(n: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'];
  let value = n;
  let unit = 0;
  while (value >= 999.95 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return unit === 0 ? `${value} B` : `${value.toFixed(1)} ${units[unit]}`;
}

/** Milliseconds as `0.4 s`, `2 min 5 s`, `26 h 3 min` or `3 d 4 h`. */
export function duration(ms: number): string {
  if (ms < 59_950) return `${(Math.max(0, ms) / 1000).toFixed(1)} s`;
  const s = Math.round(ms / 1000);
  const pair = (big: number, small: number, a: string, b: string) =>
    `${Math.floor(s / big)} ${a} ${Math.floor((s % big) / small)} ${b}`;
  if (s < 3600) return pair(60, 1, 'min', 's');
  if (s < 172_800) return pair(3600, 60, 'h', 'min');
  return pair(86_400, 3600, 'd', 'h');
}

/** `1234567` as `1,234,567`; toLocaleString loads 20 ms of other languages for it. */
export const grouped = (n: number): string => String(n).replace(/\B(?=(\d{3})+$)/g, ',');

/** `1 file`, `2 files`. */
export function count(n: number, noun: string): string {
  return `${grouped(n)} ${noun}${n === 1 ? '' : noun.endsWith('s') ? 'es' : 's'}`;
}

/** Rows as aligned text, the first row being the heading; numbers' columns are given by index to be right-aligned. */
export function table(rows: readonly (readonly string[])[], right: readonly number[] = []): string {
  const widths = (rows[0] ?? []).map((_, column) =>
    Math.max(...rows.map((row) => (row[column] ?? '').length)),
  );
  return rows
    .map((row) =>
      row
        .map((cell, i) => (right.includes(i) ? cell.padStart(widths[i] ?? 0) : cell.padEnd(widths[i] ?? 0)))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

const UNITS = { m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 } as const;

/** `90m`, `26h`, `7d` or `4w` in milliseconds. @throws Error on anything else */
export function parseAge(raw: string): number {
  const [, number = '', unit = ''] = /^(\d+)([mhdw])$/.exec(raw) ?? [];
  if (!number) throw new Error('must be a number followed by m, h, d or w, such as 26h');
  return Number(number) * UNITS[unit as keyof typeof UNITS];
}
