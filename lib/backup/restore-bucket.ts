import { EXIT, Failure } from '../failure.ts';
import { bytes, count } from '../format.ts';
import type { Step } from '../output.ts';
import { forEach } from '../pool.ts';
import { type BucketAddress, partName } from './addresses.ts';
import { type Bucket, type BucketAccess, freeSibling, openBucket, siblingName } from './bucket.ts';
import { bringIn, type Journal, settleBucket, takeBack, undoRestore } from './bucket-journal.ts';
import { contentKey } from './contents.ts';
import { readTree, suffixOfPart } from './lists.ts';
import type { BucketPart, Recovery, Restored, Restorer } from './manifest.ts';
import { SMALL } from './read.ts';
import type { Copier } from './restore-directory.ts';
import { contentFlow, fetchWhole } from './transfer.ts';
import { type ObjectEntry, parseObjects } from './tree.ts';

/** So many differences are told one by one. */
const TOLD = 20;
/** What an upload in parts holds in memory. */
const STREAM_MEMORY = 24e6;

type Access = Pick<Recovery, 'id' | 'store' | 'decrypter' | 'signal'>;

/** The objects that a part lists; from the store, so that a drill proves that the list is there. */
async function objectsOfPart(part: BucketPart, { id, store, decrypter }: Access): Promise<ObjectEntry[]> {
  return [...parseObjects(await readTree(part, { store, decrypter }), { ...part, backup: id })];
}

/**
 * Puts objects of a backup into a bucket, with their headers. Each one's SHA-256 is checked before it is there.
 * @param clean done when it fails; the failure to report is the first
 * @throws Failure naming part, object and key when a content is missing or not what it was
 */
async function fillBucket(
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
async function unlike(bucket: Bucket, objects: readonly ObjectEntry[]): Promise<string[]> {
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

/**
 * Brings a bucket back: what differs goes to a bucket beside the live one, is checked, and then copied by the server.
 * Objects that the backup does not have are left alone.
 */
export function bucketRestorer(
  part: BucketPart,
  address: BucketAddress,
  access: BucketAccess,
  recovery: Recovery,
  open: typeof openBucket = openBucket,
): Restorer {
  const { id, stateDir, signal } = recovery;
  // One name for all: what a killed restore left is found by the next.
  const besideName = siblingName(address.name, '-opsbook-restoring');
  return {
    part,
    plan: [
      `restore those of ${count(part.files, 'object')} (${bytes(part.bytesIn)}) that differ to bucket ${besideName}`,
      `keep those that they replace in bucket ${siblingName(address.name, `-before-${id}`)}, and copy them to ${address.uri}`,
    ],
    async prepare() {
      await (await open(address, access)).exists();
    },
    async restoreBeside(step) {
      const live = await open(address, access);
      await settleBucket(stateDir, part.name, live, signal);
      const side = live.sibling(besideName);
      if (await side.exists()) await side.drop();
      const { missing, strangers } = await differing(part, live, recovery);
      await side.create();
      await fillBucket(part, missing, side, recovery, step, side.drop);
      step.note(
        `${count(missing.length, 'object')} that differed; ${strangers} not in the backup left alone`,
      );
      return {
        place: side.address(),
        compare: () => unlike(side, missing),
        discard: async () => {
          if (await side.exists()) await side.drop();
        },
        ...bringing(part.name, { live, side }, missing, recovery),
      };
    },
  };
}

function bringing(
  part: string,
  { live, side }: { live: Bucket; side: Bucket },
  objects: readonly ObjectEntry[],
  { id, stateDir, signal }: Recovery,
): Pick<Restored, 'swapIn' | 'swapBack'> {
  // What is on disk since may be of whoever owns the folder.
  let brought: Journal | undefined;
  return {
    async swapIn() {
      const there = new Set<string>();
      if (await live.exists()) for await (const { key } of live.list()) there.add(key);
      const keys = objects.map(({ key }) => key);
      const overwritten = keys.filter((key) => there.has(key));
      const added = keys.filter((key) => !there.has(key));
      const before = (await freeSibling(live, `-before-${id}`)).name;
      const journal = { part, id, before, overwritten, added };
      try {
        await bringIn(stateDir, journal, { live, side }, signal);
      } catch (error) {
        // An interruption leaves it to the next run, which finds the journal.
        if (!signal.aborted) await settleBucket(stateDir, part, live, signal);
        throw error;
      }
      brought = { ...journal, phase: 'done' };
      await side.drop();
      return before;
    },
    async swapBack() {
      if (brought) await takeBack(stateDir, brought, live, signal);
    },
  };
}

/** What of the backup is not in the live bucket as it was, and how many objects there the backup does not have. */
async function differing(
  part: BucketPart,
  live: Bucket,
  recovery: Recovery,
): Promise<{ missing: ObjectEntry[]; strangers: number }> {
  const objects = await objectsOfPart(part, recovery);
  const there = new Map<string, string>();
  if (await live.exists()) {
    for await (const { key, size, etag } of live.list()) there.set(key, `${size}:${etag}`);
  }
  const missing = objects.filter(({ key, size, etag }) => there.get(key) !== `${size}:${etag}`);
  const known = new Set(objects.map(({ key }) => key));
  const strangers = [...there.keys()].filter((key) => !known.has(key)).length;
  return { missing, strangers };
}

/** {@link undoRestore} of the bucket that an item of BACKUP_BUCKETS names. */
export async function undoBucket(
  address: BucketAddress,
  access: BucketAccess,
  stateDir: string,
  open: typeof openBucket = openBucket,
): Promise<{ id: string; kept: string }> {
  return undoRestore(stateDir, partName(address), await open(address, access), access.signal);
}

/** Brings a bucket back to another one of its server, which must be empty or absent. */
export function bucketCopier(
  part: BucketPart,
  target: string,
  address: BucketAddress,
  access: BucketAccess,
  recovery: Omit<Recovery, 'stateDir'>,
  open: typeof openBucket = openBucket,
): Copier {
  const opened = async () => (await open(address, access)).sibling(target);
  return {
    part,
    plan: [`restore ${count(part.files, 'object')} (${bytes(part.bytesIn)}) to bucket ${target}`],
    async prepare() {
      const bucket = await opened();
      if (!(await bucket.exists())) return;
      for await (const { key } of bucket.list()) {
        throw new Failure(
          `${part.name}: the ${bucket.address()} is not empty: it has ${JSON.stringify(key)}`,
          {
            exit: EXIT.usage,
            next: 'name a bucket that is not there; what a cut-off restore left there can be removed',
          },
        );
      }
    },
    async restore(step: Step) {
      const bucket = await opened();
      const objects = await objectsOfPart(part, recovery);
      const created = !(await bucket.exists());
      if (created) await bucket.create();
      const discard = created ? bucket.drop : bucket.clear;
      await fillBucket(part, objects, bucket, recovery, step, discard);
      step.note(`${count(objects.length, 'object')}, ${bytes(part.bytesIn)}`);
      return {
        place: bucket.address(),
        compare: () => unlike(bucket, objects),
        discard,
      };
    },
  };
}
