import { Failure, messageOf } from '../failure.ts';
import { bytes } from '../format.ts';
import { holds } from './examine.ts';
import { contentKey } from './files/contents.ts';
import { type FilesPart, type Reader, readTree, suffixOfPart } from './files/lists.ts';
import { contentsOfTree } from './files/tree.ts';
import type { PartRecord } from './manifest.ts';
import { weight } from './memory.ts';
import type { Verdict } from './prune.ts';
import type { Listed } from './store.ts';

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
