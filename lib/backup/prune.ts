import { Failure, messageOf } from '../failure.ts';
import { bytes, duration } from '../format.ts';
import { contentKey } from './blobs.ts';
import {
  type Entry,
  type Examined,
  type encryptedBy,
  fetchManifest,
  forgetManifests,
  holds,
  plainDoubt,
  recallManifest,
  weight,
} from './catalog.ts';
import type { Opener } from './encryption.ts';
import type { Manifest, PartRecord } from './manifest.ts';
import { CLOCK_TOLERANCE_MS, isManifest, SETTLED_MS } from './schema.ts';
import { keep, type Policy, shortestPeriod } from './settings.ts';
import { type Listed, type Store, Unreadable } from './store.ts';
import {
  contentOf,
  contentsOfTree,
  type FilesPart,
  forgetTrees,
  type Reader,
  readTree,
  suffixOfPart,
} from './tree.ts';

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

/** By so much a part has to shrink before what it was is not deleted without a question. */
const COLLAPSED = 10;

/** A part of a backup that stays. */
interface Standing {
  id: string;
  part: PartRecord;
}

/**
 * Keeps what is far more than the next backup that stays: somebody who may only write can still take backups of next
 * to nothing, and so does an app that lost its data. Sizes are those that the store shows, not those that a manifest
 * says of itself.
 */
export async function keepLarger(
  verdicts: readonly Verdict[],
  reader: Reader,
): Promise<{ verdicts: Verdict[]; warnings: string[] }> {
  const proven = scales(reader);
  const next = new Map<string, Standing>();
  const judged: Verdict[] = [];
  const warnings: string[] = [];
  for (const verdict of verdicts.toReversed()) {
    const { entry } = verdict;
    const parts = entry.doubt ? [] : (entry.manifest?.parts ?? []);
    const larger = verdict.reasons.length > 0 ? undefined : await firstCollapsed(parts, next, proven);
    if (larger)
      warnings.push(`backup ${entry.id} is kept: ${larger.how}; or delete it all the same: --force`);
    const reasons = larger ? [`far larger than ${larger.than}`] : verdict.reasons;
    judged.unshift({ entry, reasons });
    if (reasons.length === 0) continue;
    for (const part of parts) next.set(`${part.kind} ${part.name}`, { id: entry.id, part });
  }
  return { verdicts: judged, warnings };
}

async function firstCollapsed(
  parts: readonly PartRecord[],
  next: ReadonlyMap<string, Standing>,
  proven: Proven,
): Promise<{ than: string; how: string } | undefined> {
  for (const part of parts) {
    const standing = next.get(`${part.kind} ${part.name}`);
    const how = standing && (await collapsed(part, standing, proven));
    if (how) return { than: standing.id, how };
  }
  return undefined;
}

type Proven = (part: PartRecord) => Promise<number>;

async function collapsed(
  part: PartRecord,
  { id, part: now }: Standing,
  proven: Proven,
): Promise<string | undefined> {
  if ('tree' in part && 'tree' in now && part.tree.key === now.tree.key) return undefined;
  const what = `${part.kind} ${part.name}`;
  let light: number;
  try {
    light = await proven(now);
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    return `how much ${what} has in ${id}, the next that stays, is unknown (${messageOf(error)}). Next: ${error.next}`;
  }
  if (light * COLLAPSED >= weight(part)) return undefined;
  // Files that are there many times are stored once.
  const heavy = await proven(part).catch((error) => {
    if (!(error instanceof Failure)) throw error;
    return weight(part);
  });
  if (light * COLLAPSED >= heavy) return undefined;
  return (
    `${what} has ${bytes(heavy)} in it and ${bytes(light)} in ${id}, the next that stays. ` +
    `Next: see whether that is what it should be: npx tsx scripts/backup/drill.ts ${id}`
  );
}

/** What the store proves of how much is in a part: the size of its dump, or of the contents that its tree names. */
function scales(reader: Reader): Proven {
  let listing: Promise<Map<string, Listed>> | undefined;
  const known = new Map<string, Promise<number>>();
  const weigh = async (part: FilesPart) => {
    const contents = contentsOfTree(await readTree(part, reader), part);
    listing ??= contentsIn(reader);
    const there = await listing;
    const suffix = suffixOfPart(part);
    let sum = 0;
    for (const { sha256, bytes } of contents.values()) {
      const key = contentKey(sha256, suffix);
      const found = there.get(key);
      if (found && holds(found, key, bytes)) sum += bytes;
    }
    return sum;
  };
  return async (part) => {
    if (!('tree' in part)) return part.dump.bytes;
    const sum = known.get(part.tree.key) ?? weigh(part);
    known.set(part.tree.key, sum);
    return sum;
  };
}

async function contentsIn({ store }: Reader): Promise<Map<string, Listed>> {
  const there = new Map<string, Listed>();
  for await (const object of store.list('content/')) there.set(object.key, object);
  return there;
}

interface Where {
  app: string;
  store: Store;
  opener: Opener;
  stateDir: string;
}

/** Content that no kept backup refers to. */
export interface Garbage {
  keys: string[];
  bytes: number;
}

/**
 * Finds what no kept backup refers to, from this host's own memory where the store may not be read.
 * @throws Failure when neither knows what a kept backup refers to: then nothing may be collected
 */
export async function findGarbage(kept: readonly Examined[], where: Where, now: Date): Promise<Garbage> {
  // Where nothing has changed, backups share their list of files: it is read once.
  const lists = new Map<string, FilesPart>();
  for (const entry of kept) {
    if (entry.state === 'unfinished') continue;
    for (const part of (await manifestOf(entry, where)).parts)
      if ('tree' in part) lists.set(`${part.kind} ${part.tree.key}`, part);
  }
  const used = new Set<string>();
  for (const part of lists.values()) for (const key of await contentOf(part, where)) used.add(key);
  const settled = settledBy(kept, now);
  const garbage: Garbage = { keys: [], bytes: 0 };
  for await (const { key, bytes, modified } of where.store.list('content/')) {
    if (used.has(key) || modified.getTime() > settled) continue;
    garbage.keys.push(key);
    garbage.bytes += bytes;
  }
  return garbage;
}

/** What was stored later may belong to a backup that is being taken, however long ago it was begun. */
function settledBy(kept: readonly Examined[], now: Date): number {
  const begun = kept
    .filter(({ state }) => state === 'unfinished')
    .flatMap(({ started, objects }) => [started, ...objects.map(({ modified }) => modified)])
    .map((time) => time.getTime() - CLOCK_TOLERANCE_MS);
  return Math.min(now.getTime() - SETTLED_MS, ...begun);
}

const manifestOf = async (entry: Examined, { app, store, stateDir }: Where): Promise<Manifest> =>
  entry.manifest ?? recallManifest(stateDir, app, entry.id) ?? fetchManifest(store, app, entry);

/** Forgets what this host remembered for backups that are no more. */
export function forget(kept: readonly Entry[], { app, stateDir }: Pick<Where, 'app' | 'stateDir'>): void {
  const ids = new Set(kept.map((entry) => entry.id));
  const trees = new Set<string>();
  for (const id of ids) {
    for (const part of recallManifest(stateDir, app, id)?.parts ?? [])
      if ('tree' in part) trees.add(part.tree.sha256);
  }
  forgetManifests(stateDir, ids);
  forgetTrees(stateDir, trees);
}
