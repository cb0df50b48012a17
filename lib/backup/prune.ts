import { Failure, messageOf } from '../failure.ts';
import { duration } from '../format.ts';
import type { Entry } from './catalog.ts';
import { CLOCK_TOLERANCE_MS, type Examined, type encryptedBy, plainDoubt } from './examine.ts';
import { isManifest } from './id.ts';
import { keep, type Policy, shortestPeriod } from './retention.ts';
import { Unreadable } from './store.ts';

/** What is not finished after this long never will be, and content that young may belong to a backup being taken. */
export const SETTLED_MS = 86_400_000;

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
  const keptOf = (state: Entry['state']) =>
    keep(
      entries.filter((e) => e.state === state && !e.doubt),
      policy,
      now,
    );
  const kept = { complete: keptOf('complete'), partial: keptOf('partial') };
  return judgeEach(entries, now, ({ id, state }) =>
    state === 'unfinished' ? [] : (kept[state].get(id) ?? []),
  );
}

/** Sorts backups by age: what is older goes, except the newest that is complete. */
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
    return {
      entry,
      reasons: reasons.length === 0 && parts ? [`the last with ${parts.join(', ')}`] : reasons,
    };
  });
}

/** The newest backup of each part, by its id: one that lacks a part never makes the last that has it go. */
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
 * Doubts a plain backup that is newer than an encrypted one: whoever may write to the store may have made it. Those
 * before it are older than the encryption.
 */
export function doubtPlain(
  entries: readonly Examined[],
  by: ReturnType<typeof encryptedBy>,
): readonly Examined[] {
  const first = entries.findIndex(({ manifest, doubt }) => manifest && manifest.recipient !== null && !doubt);
  if (first < 0) return entries;
  return entries.map((entry, i) => {
    const doubt = entry.doubt ?? (i > first && entry.manifest ? plainDoubt(entry.manifest, by) : undefined);
    return doubt ? { ...entry, doubt } : entry;
  });
}

/**
 * Refuses to delete while something is wrong with what would be left.
 * @throws Failure when no complete backup counts, when the newest is overdue, or when one is from the future
 */
export function refuseAbsurd(entries: readonly Examined[], policy: Policy, now: Date): void {
  const sound = entries.filter((e) => e.state !== 'unfinished' && !e.doubt);
  const future = sound.find((e) => e.started.getTime() > now.getTime() + CLOCK_TOLERANCE_MS);
  if (future) {
    throw new Failure(
      `backup ${future.id} is from the future: a clock is wrong, and retention goes by clocks`,
      {
        next: `compare \`date -u\` (${now.toISOString()}) with a clock you trust; or delete all the same: --force`,
      },
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
  throw new Failure(
    `the newest complete backup, ${newest.id}, is ${duration(age)} old, and they should be ${name}`,
    {
      next: 'see why, then take a backup; or delete all the same: --force',
    },
  );
}

/** Says why content was left alone: what a kept backup refers to is not known. */
export function uncollected(error: unknown): string {
  const next =
    error instanceof Unreadable
      ? 'run prune once with the credentials of a reader that may delete'
      : 'see what that backup is; when it is none of yours, delete it by hand';
  return `files that no backup refers to were not collected (${messageOf(error)}). Next: ${next}`;
}

/** The order in which a backup is deleted: its manifest first, so that from then on it is none, whatever happens. */
export const deletionOrder = (id: string, keys: readonly string[]): string[] =>
  [...keys].sort((a, b) => Number(isManifest(b, id)) - Number(isManifest(a, id)));
