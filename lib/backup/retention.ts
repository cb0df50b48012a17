/** How many backups of each period are kept: the newest of each of the last `daily` days that have one, and so on. */
export interface Policy {
  daily: number;
  weekly: number;
  monthly: number;
  yearly: number;
}

type Period = keyof Policy;

const DAY_MS = 86_400_000;
export const PERIOD_MS: Record<Period, number> = {
  daily: DAY_MS,
  weekly: 7 * DAY_MS,
  monthly: 31 * DAY_MS,
  yearly: 366 * DAY_MS,
};

/** `daily=7,weekly=4,monthly=3`. */
export function parsePolicy(raw: string): Policy {
  const policy: Policy = { daily: 0, weekly: 0, monthly: 0, yearly: 0 };
  for (const item of raw.split(',')) {
    const [, period = '', number = ''] = /^\s*(\w+)=(\d+)\s*$/.exec(item) ?? [];
    if (!Object.hasOwn(policy, period))
      throw new Error(`"${item.trim()}" is not daily=N, weekly=N, monthly=N or yearly=N`);
    policy[period as Period] = Number(number);
  }
  if (Object.values(policy).every((n) => n === 0)) throw new Error('would keep nothing');
  return policy;
}

interface Aged {
  id: string;
  started: Date;
}

/**
 * Which of `backups` a policy keeps, each with the reasons. Days, weeks (from Monday), months and years are those of
 * UTC, and only those that have a backup count: a pause of some weeks costs nothing that was there before it. The
 * newest is always kept; what claims to be from the future is too, and counts for nothing.
 */
export function keep(backups: readonly Aged[], policy: Policy, now: Date): Map<string, string[]> {
  const kept = new Map<string, string[]>();
  const because = (id: string, reason: string) => kept.set(id, [...(kept.get(id) ?? []), reason]);
  for (const { id, started } of backups) if (started > now) because(id, 'in the future');
  const newestFirst = backups.filter(({ started }) => started <= now).sort((a, b) => (a.id < b.id ? 1 : -1));
  if (newestFirst[0]) because(newestFirst[0].id, 'newest');
  for (const [period, number] of Object.entries(policy) as Array<[Period, number]>) {
    for (const id of newestOfEach(period, number, newestFirst)) because(id, period);
  }
  return kept;
}

/** The newest of each of the last `number` periods that have any. */
function newestOfEach(period: Period, number: number, newestFirst: readonly Aged[]): string[] {
  const newest = new Map<string, string>();
  for (const { id, started } of newestFirst) {
    const name = periodOf(period, started);
    if (!newest.has(name) && newest.size < number) newest.set(name, id);
  }
  return [...newest.values()];
}

function periodOf(period: Period, date: Date): string {
  const iso = date.toISOString();
  if (period === 'daily') return iso.slice(0, 10);
  if (period === 'monthly') return iso.slice(0, 7);
  if (period === 'yearly') return iso.slice(0, 4);
  const monday = new Date(date.getTime() - ((date.getUTCDay() + 6) % 7) * DAY_MS);
  return monday.toISOString().slice(0, 10);
}

/** The length of the shortest period that a policy keeps anything of: how old the newest backup may be. */
export function shortestPeriod(policy: Policy): { name: Period; ms: number } {
  const name = (Object.keys(policy) as Period[]).find((period) => policy[period] > 0) ?? 'daily';
  return { name, ms: PERIOD_MS[name] };
}
