import { Failure, messageOf } from '../failure.ts';
import { duration } from '../format.ts';
import type { Entry } from './catalog.ts';
import { keep, type Policy, shortestPeriod } from './retention.ts';

/** What is not finished after this long never will be, and content that young may belong to a backup being taken. */
export const SETTLED_MS = 86_400_000;

/** What is deleted and what is kept, and why. */
export interface Verdict {
  entry: Entry;
  /** Why it is kept; empty when it is deleted. */
  reasons: string[];
}

/** Sorts backups by a policy: complete and partial ones each by themselves, unfinished ones by age alone. */
export function judge(entries: readonly Entry[], policy: Policy, now: Date): Verdict[] {
  const keptOf = (state: Entry['state']) =>
    keep(
      entries.filter((e) => e.state === state),
      policy,
      now,
    );
  const kept = { complete: keptOf('complete'), partial: keptOf('partial') };
  return entries.map((entry) => ({
    entry,
    reasons: entry.state === 'unfinished' ? unfinished(entry, now) : (kept[entry.state].get(entry.id) ?? []),
  }));
}

/** Sorts backups by age: what is older goes, except the newest that is complete. */
export function judgeByAge(entries: readonly Entry[], olderThan: number, now: Date): Verdict[] {
  const newest = entries.findLast((e) => e.state === 'complete' && e.started <= now);
  return entries.map((entry) => {
    const reasons = entry.state === 'unfinished' ? unfinished(entry, now) : [];
    if (entry.state !== 'unfinished' && now.getTime() - entry.started.getTime() < olderThan)
      reasons.push('young');
    if (entry === newest) reasons.push('newest');
    return { entry, reasons };
  });
}

const unfinished = ({ started }: Entry, now: Date): string[] =>
  now.getTime() - started.getTime() < SETTLED_MS ? ['may be in progress'] : [];

/**
 * Refuses to delete while something is wrong with what would be left.
 * @throws Failure when there is no complete backup, when the newest is overdue, or when one is from the future
 */
export function refuseAbsurd(entries: readonly Entry[], policy: Policy, now: Date): void {
  const force = 'see why, then take a backup; or delete all the same: --force';
  const future = entries.find((e) => e.started.getTime() > now.getTime() + 3_600_000);
  if (future) {
    throw new Failure(
      `backup ${future.id} is from the future: a clock is wrong, and retention goes by clocks`,
      {
        next: `compare \`date -u\` (${now.toISOString()}) with a clock you trust; or delete all the same: --force`,
      },
    );
  }
  const newest = entries.findLast((e) => e.state === 'complete');
  if (!newest) throw new Failure('there is no complete backup: nothing is deleted', { next: force });
  const age = now.getTime() - newest.started.getTime();
  const { name, ms } = shortestPeriod(policy);
  // A nightly backup that runs a little later than yesterday's is not overdue.
  if (age <= ms * 1.5) return;
  throw new Failure(
    `the newest complete backup, ${newest.id}, is ${duration(age)} old, and they should be ${name}`,
    {
      next: force,
    },
  );
}

/** Says why content was left alone: this role may not read what older backups refer to. */
export function uncollected(error: unknown): string {
  return (
    `files that no backup refers to were not collected (${messageOf(error)}). ` +
    'Next: run prune once with the credentials of a reader that may delete'
  );
}

/** The order in which a backup is deleted: its manifest first, so that from then on it is none, whatever happens. */
export const deletionOrder = (keys: readonly string[]): string[] =>
  [...keys].sort((a, b) => Number(b.includes('/manifest')) - Number(a.includes('/manifest')));
