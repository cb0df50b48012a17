import { forEach } from '../../pool.ts';
import type { Step } from '../../report.ts';
import type { BucketPart } from '../manifest.ts';
import type { Recovery } from '../part.ts';
import type { Bucket } from './bucket.ts';
import { contentKey } from './contents.ts';
import { contentFlow, fetchWhole } from './fetch.ts';
import { readTree, suffixOfPart } from './lists.ts';
import { SMALL } from './read.ts';
import { type ObjectEntry, parseObjects } from './tree.ts';

/** So many differences are told one by one. */
const TOLD = 20;
/** What an upload in parts holds in memory. */
const STREAM_MEMORY = 24e6;

type Access = Pick<Recovery, 'id' | 'store' | 'opener' | 'signal'>;

/** The objects that a part lists; from the store, so that a drill proves that the list is there. */
export async function objectsOfPart(part: BucketPart, { id, store, opener }: Access): Promise<ObjectEntry[]> {
  return [...parseObjects(await readTree(part, { store, opener }), { ...part, backup: id })];
}

/**
 * Puts objects of a backup into a bucket, with their headers. Each one's SHA-256 is checked before it is there.
 * @param clean done when it fails; the failure to report is the first
 * @throws Failure naming part, object and key when a content is missing or not what it was
 */
export async function fillBucket(
  part: BucketPart,
  objects: readonly ObjectEntry[],
  bucket: Bucket,
  access: Access,
  step: Step,
  clean: () => Promise<void>,
): Promise<void> {
  try {
    await fill(part, objects, bucket, access, step);
  } catch (error) {
    await clean().catch(() => {});
    throw error;
  }
}

async function fill(
  part: BucketPart,
  objects: readonly ObjectEntry[],
  bucket: Bucket,
  access: Access,
  step: Step,
): Promise<void> {
  const suffix = suffixOfPart(part);
  let done = 0;
  await forEach(objects, {
    signal: access.signal,
    weigh: ({ size }) => (size > SMALL ? STREAM_MEMORY : size),
    act: async ({ key, size, sha256, headers }) => {
      const label = `${part.name}: ${JSON.stringify(key)}`;
      const wanted = { key: contentKey(sha256, suffix), measure: { sha256, bytes: size }, label };
      if (size > SMALL) await bucket.putStream(key, contentFlow(access, wanted), size, headers);
      else await bucket.put(key, await fetchWhole(access, wanted), headers);
      done += 1;
      step.progress({ done, total: objects.length, unit: 'files' });
    },
  });
}

/** How a bucket differs from the objects that were put into it, by a listing. */
export async function unlike(bucket: Bucket, objects: readonly ObjectEntry[]): Promise<string[]> {
  const sizes = new Map<string, number>();
  for await (const { key, size } of bucket.list()) sizes.set(key, size);
  const found = objects.flatMap(({ key, size }) => {
    const is = sizes.get(key);
    sizes.delete(key);
    if (is === undefined) return [`${JSON.stringify(key)}: is missing`];
    return is === size ? [] : [`${JSON.stringify(key)}: size is ${is}, was ${size}`];
  });
  for (const key of sizes.keys()) found.push(`${JSON.stringify(key)}: is not in the backup`);
  const more = found.length - TOLD;
  return more > 0 ? [...found.slice(0, TOLD), `and ${more} more`] : found;
}
