import { Failure, messageOf } from '../failure.ts';
import { bytes, duration } from '../format.ts';
import type { Entry } from './catalog.ts';
import type { Examined } from './examine.ts';
import { CLOCK_TOLERANCE_MS, SETTLED_MS } from './id.ts';
import type { PartRecord } from './manifest.ts';
import { Unreadable } from './store.ts';

/** How many backups of each period are kept: the newest of each of the last `daily` days that have one, and so on. */
export interface Policy {
  daily: number;
  weekly: number;
  monthly: number;
  yearly: number;
}

type Period = keyof Policy;

const DAY_MS = 86_400_000;
const PERIOD_DAYS: Record<Period, number> = { daily: 1, weekly: 7, monthly: 31, yearly: 366 };

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

/**
 * Which of `backups` a policy keeps, each with the reasons. Days, weeks (from Monday), months and years are those of
 * UTC, and only those that have a backup count: a pause of some weeks costs nothing that was there before it. The
 * newest is always kept; what claims to be from the future is too, and counts for nothing.
 */
export function keep(
  backups: readonly Pick<Entry, 'id' | 'started'>[],
  policy: Policy,
  now: Date,
): Map<string, string[]> {
  const kept = new Map<string, string[]>();
  const because = (id: string, reason: string) => kept.set(id, [...(kept.get(id) ?? []), reason]);
  for (const { id, started } of backups) if (started > now) because(id, 'in the future');
  const newestFirst = backups.filter(({ started }) => started <= now).sort((a, b) => (a.id < b.id ? 1 : -1));
  if (newestFirst[0]) because(newestFirst[0].id, 'newest');
  for (const [period, number] of Object.entries(policy) as Array<[Period, number]>) {
    const groups = Map.groupBy(newestFirst, ({ started }) => periodOf(period, started));
    for (const [newest] of [...groups.values()].slice(0, number)) if (newest) because(newest.id, period);
  }
  return kept;
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
  return { name, ms: PERIOD_DAYS[name] * DAY_MS };
}

/** What is deleted and what is kept, and why. */
export interface Verdict {
  entry: Examined;
  /** Why it is kept; empty when it is deleted. */
  reasons: string[];
}

/**
 * Sorts backups by a policy: complete and partial ones each by themselves, unfinished ones by age alone. One that is
 * in doubt is left, and is no reason to delete another.
 */
export function judge(entries: readonly Examined[], policy: Policy, now: Date): Verdict[] {
  const sound = entries.filter(({ doubt }) => !doubt);
  const kept = Object.groupBy(sound, ({ state }) => state);
  const reasons = [kept.complete, kept.partial].flatMap((backups = []) => [...keep(backups, policy, now)]);
  const byId = new Map(reasons);
  return judgeEach(entries, now, ({ id }) => byId.get(id) ?? []);
}

/** Sorts backups by age in milliseconds: what is older goes, except the newest that is complete. */
export function judgeByAge(entries: readonly Examined[], olderThan: number, now: Date): Verdict[] {
  const newest = entries.findLast((e) => e.state === 'complete' && !e.doubt && e.started <= now);
  return judgeEach(entries, now, (entry) => [
    ...(now.getTime() - entry.started.getTime() < olderThan ? ['young'] : []),
    ...(entry === newest ? ['newest'] : []),
  ]);
}

function judgeEach(
  entries: readonly Examined[],
  now: Date,
  reasonsOf: (entry: Examined) => string[],
): Verdict[] {
  const last = newestOfParts(entries, now);
  return entries.map((entry) => {
    if (entry.state === 'unfinished') return { entry, reasons: unfinished(entry, now) };
    if (entry.doubt) return { entry, reasons: ['in doubt'] };
    const reasons = reasonsOf(entry);
    const parts = last.get(entry.id);
    if (reasons.length === 0 && parts) reasons.push(`the last with ${parts.join(', ')}`);
    return { entry, reasons };
  });
}

/** By id, the parts that a backup is the newest of: one that lacks a part never makes the last that has it go. */
function newestOfParts(entries: readonly Examined[], now: Date): Map<string, string[]> {
  const seen = new Set<string>();
  const last = new Map<string, string[]>();
  for (const { id, started, manifest, doubt } of entries.toReversed()) {
    if (doubt || started > now) continue;
    for (const { kind, name } of manifest?.parts ?? []) {
      if (seen.has(`${kind} ${name}`)) continue;
      seen.add(`${kind} ${name}`);
      last.set(id, [...(last.get(id) ?? []), name]);
    }
  }
  return last;
}

/** By its last write: a large backup may take longer than a day. */
function unfinished({ started, objects }: Entry, now: Date): string[] {
  const last = Math.max(started.getTime(), ...objects.map(({ modified }) => modified.getTime()));
  return now.getTime() - last < SETTLED_MS ? ['may be in progress'] : [];
}

/**
 * Refuses to delete while something is wrong with what would be left.
 * @throws Failure when no complete backup counts, when the newest is overdue, or when one is from the future
 */
export function refuseAbsurd(entries: readonly Examined[], policy: Policy, now: Date): void {
  const sound = entries.filter((e) => e.state !== 'unfinished' && !e.doubt);
  const future = sound.find((e) => e.started.getTime() > now.getTime() + CLOCK_TOLERANCE_MS);
  if (future) {
    const next = `compare \`date -u\` (${now.toISOString()}) with a clock you trust; or delete all the same: --force`;
    throw new Failure(
      `backup ${future.id} is from the future: a clock is wrong, and retention goes by clocks`,
      { next },
    );
  }
  const newest = sound.findLast((e) => e.state === 'complete');
  if (!newest) {
    const doubt = entries.findLast((e) => e.doubt)?.doubt;
    throw new Failure(`there is no complete backup${doubt ? ' that counts' : ''}: nothing is deleted`, {
      next:
        doubt instanceof Unreadable
          ? 'run prune once with the credentials of a reader that may delete'
          : 'see why, then take a backup',
    });
  }
  const age = now.getTime() - newest.started.getTime();
  const { name, ms } = shortestPeriod(policy);
  // A nightly backup that runs a little later than yesterday's is not overdue.
  if (age <= ms * 1.5) return;
  const next = 'see why, then take a backup; or delete all the same: --force';
  throw new Failure(
    `the newest complete backup, ${newest.id}, is ${duration(age)} old, and they should be ${name}`,
    { next },
  );
}

/** By so much a part has to shrink before what it was is not deleted without a question. */
const COLLAPSED = 10;

/** How much is in a part, as far as one number says it: the dump's size, which a listing proves, or that of all its files. */
export const weight = (part: PartRecord): number => ('tree' in part ? part.bytesIn : part.dump.bytes);

/** Resolves to the bytes of a part that the store has. @throws Failure where that cannot be known */
type Proven = (part: PartRecord) => Promise<number>;

/**
 * Keeps what is far more than the next backup that stays: somebody who may only write can still take backups of next
 * to nothing, and so does an app that lost its data. Sizes are those that the store shows, not those that a manifest
 * says of itself.
 */
export async function keepLarger(
  verdicts: readonly Verdict[],
  proven: Proven,
): Promise<{ verdicts: Verdict[]; warnings: string[] }> {
  const next: Staying = new Map();
  const judged: Verdict[] = [];
  const warnings: string[] = [];
  for (const { entry, reasons: before } of verdicts.toReversed()) {
    const reasons = [...before];
    const parts = entry.doubt ? [] : (entry.manifest?.parts ?? []);
    const larger = reasons.length > 0 ? undefined : await firstCollapsed(parts, next, proven);
    if (larger) {
      warnings.push(`backup ${entry.id} is kept: ${larger.how}; or delete it all the same: --force`);
      reasons.push(`far larger than ${larger.than}`);
    }
    judged.unshift({ entry, reasons });
    if (reasons.length === 0) continue;
    for (const part of parts) next.set(`${part.kind} ${part.name}`, { id: entry.id, part });
  }
  return { verdicts: judged, warnings };
}

/** Each part as it is in the next backup that stays. */
type Staying = Map<string, { id: string; part: PartRecord }>;

async function firstCollapsed(
  parts: readonly PartRecord[],
  next: Staying,
  proven: Proven,
): Promise<{ than: string; how: string } | undefined> {
  for (const part of parts) {
    const staying = next.get(`${part.kind} ${part.name}`);
    const how = staying && (await collapsed(part, staying, proven));
    if (how) return { than: staying.id, how };
  }
  return undefined;
}

/** Why a part is not to be deleted for the sake of the one that stays; undefined where it may be. */
async function collapsed(
  part: PartRecord,
  { id, part: now }: { id: string; part: PartRecord },
  proven: Proven,
): Promise<string | undefined> {
  if ('tree' in part && 'tree' in now && part.tree.key === now.tree.key) return undefined;
  const what = `${part.kind} ${part.name}`;
  const light = await proven(now).catch(unlessFailure);
  if (light instanceof Failure)
    return `how much ${what} has in ${id}, the next that stays, is unknown (${messageOf(light)}). Next: ${light.next}`;
  if (light * COLLAPSED >= weight(part)) return undefined;
  // Files that are there many times are stored once.
  const found = await proven(part).catch(unlessFailure);
  const heavy = found instanceof Failure ? weight(part) : found;
  if (light * COLLAPSED >= heavy) return undefined;
  return (
    `${what} has ${bytes(heavy)} in it and ${bytes(light)} in ${id}, the next that stays. ` +
    `Next: see whether that is what it should be: npx tsx scripts/backup/drill.ts ${id}`
  );
}

function unlessFailure(error: unknown): Failure {
  if (error instanceof Failure) return error;
  throw error;
}
