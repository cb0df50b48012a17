const NAMES = [
  [],
  [],
  [],
  ['', 'jan', 'feb', 'mar', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec'],
  ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat'],
] as const;
const RANGES = [
  [0, 59],
  [0, 23],
  [1, 31],
  [1, 12],
  [0, 7],
] as const;
const SHORT: Readonly<Record<string, string>> = {
  ...{ '@hourly': '0 * * * *', '@daily': '0 0 * * *', '@midnight': '0 0 * * *' },
  ...{ '@weekly': '0 0 * * 0', '@monthly': '0 0 1 * *', '@yearly': '0 0 1 1 *' },
};

const MINUTE_MS = 60_000;
const LONGEST_MINUTES = 366 * 24 * 60;

/** Whether a value of a field is one that the schedule names. */
type Field = { has(value: number): boolean; any: boolean };

function parseField(text: string, index: number): Field {
  const [low, high] = RANGES[index] as readonly [number, number];
  const number = (word: string) => {
    const named = (NAMES[index] as readonly string[]).indexOf(word.toLowerCase());
    return named >= 0 ? named : Number(word);
  };
  const values = new Set<number>();
  for (const item of text.split(',')) {
    const [range = '', step = '1'] = item.split('/');
    const [from = '', to] = range === '*' ? [String(low), String(high)] : range.split('-');
    const last = to === undefined ? (item.includes('/') ? high : number(from)) : number(to);
    for (let value = number(from); value <= last; value += Number(step) || 1) values.add(value);
  }
  if (index === 4 && values.has(7)) values.add(0);
  return { has: (value) => values.has(value), any: text.startsWith('*') };
}

/**
 * When an entry of cron was last due at or before `now`, in milliseconds; undefined where it is never due in a year, or
 * no five fields. As crontab(5) has it: where day of month and day of week are both restricted, either will do.
 * @param zoneMs how far the host's local time is ahead of UTC
 */
export function lastDue(schedule: string, now: number, zoneMs = 0): number | undefined {
  const fields = (SHORT[schedule] ?? schedule).split(/\s+/).map(parseField);
  const [minute, hour, day, month, weekday] = fields;
  if (!minute || !hour || !day || !month || !weekday) return undefined;
  const start = Math.floor((now + zoneMs) / MINUTE_MS) * MINUTE_MS;
  for (let back = 0; back < LONGEST_MINUTES; back += 1) {
    const at = new Date(start - back * MINUTE_MS);
    if (!minute.has(at.getUTCMinutes()) || !hour.has(at.getUTCHours())) continue;
    const [inMonth, inWeek] = [day.has(at.getUTCDate()), weekday.has(at.getUTCDay())];
    const onDay = day.any || weekday.any ? inMonth && inWeek : inMonth || inWeek;
    if (onDay && month.has(at.getUTCMonth() + 1)) return at.getTime() - zoneMs;
  }
  return undefined;
}
