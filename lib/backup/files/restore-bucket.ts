import { bytes, count } from '../../format.ts';
import type { BucketPart } from '../manifest.ts';
import { partName } from '../names.ts';
import type { Recovery, Restored, Restorer } from '../part.ts';
import type { BucketAddress } from './address.ts';
import { type Bucket, freeSibling, siblingName } from './bucket.ts';
import { bringIn, type Journal, settleBucket, takeBack, undoRestore } from './bucket-journal.ts';
import { fillBucket, objectsOfPart, unlike } from './fill-bucket.ts';
import { type BucketAccess, openBucket } from './s3-bucket.ts';
import type { ObjectEntry } from './tree.ts';

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
