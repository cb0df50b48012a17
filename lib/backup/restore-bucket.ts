import { z } from 'zod';
import { EXIT, Failure } from '../failure.ts';
import { bytes, count } from '../format.ts';
import type { Step } from '../output.ts';
import { forEach } from '../pool.ts';
import { type BucketAddress, partName } from './addresses.ts';
import { SMALL } from './blobs.ts';
import { type Bucket, type BucketAccess, freeSibling, openBucket, siblingName } from './bucket.ts';
import { backupId, Journals } from './journal.ts';
import type { BucketPart, Recovery, Restored, Restorer, Work } from './manifest.ts';
import { firstOf, restoreContents, STAYS } from './restore-tree.ts';
import { fileName, quoted } from './schema.ts';
import { type ObjectEntry, parseObjects, readTree } from './tree.ts';

/**
 * Restores a bucket: what differs goes to a bucket beside the live one, is checked, and then copied by the server.
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
      await settleRestore(stateDir, part.name, live, signal);
      const beside = live.sibling(besideName);
      if (await beside.exists()) await beside.drop();
      const { differing, others } = await compareWith(live, await objectsOf(part, recovery));
      await beside.create();
      await fill(part, differing, beside, recovery, step, beside.drop);
      step.note(`${count(differing.length, 'object')} that differed; ${others} not in the backup left alone`);
      return {
        place: beside.address(),
        compare: () => differences(beside, differing),
        discard: async () => {
          if (await beside.exists()) await beside.drop();
        },
        ...swapping(part.name, { live, beside }, differing, recovery),
      };
    },
  };
}

/** What of the backup is not in the live bucket as it was, and how many objects there the backup does not have. */
async function compareWith(live: Bucket, objects: readonly ObjectEntry[]) {
  const there = new Map<string, string>();
  if (await live.exists()) {
    for await (const { key, size, etag } of live.list()) there.set(key, `${size}:${etag}`);
  }
  const differing = objects.filter(({ key, size, etag }) => there.get(key) !== `${size}:${etag}`);
  for (const { key } of objects) there.delete(key);
  return { differing, others: there.size };
}

function swapping(
  part: string,
  { live, beside }: { live: Bucket; beside: Bucket },
  objects: readonly ObjectEntry[],
  { id, stateDir, signal }: Recovery,
): Pick<Restored, 'swapIn' | 'swapBack'> {
  // What is on disk since may be of whoever owns the folder.
  let restored: Restoration | undefined;
  return {
    async swapIn() {
      const there = new Set<string>();
      if (await live.exists()) for await (const { key } of live.list()) there.add(key);
      const keys = objects.map(({ key }) => key);
      const overwritten = keys.filter((key) => there.has(key));
      const added = keys.filter((key) => !there.has(key));
      const before = await freeSibling(live, `-before-${id}`);
      const entry = { part, id, before: before.name, overwritten, added };
      try {
        journal.write(stateDir, { ...entry, phase: 'saving' });
        await ensure(live);
        await ensure(before);
        await copyAll(overwritten, live, before, signal);
        journal.write(stateDir, { ...entry, phase: 'writing' });
        await copyAll([...overwritten, ...added], beside, live, signal);
        restored = journal.write(stateDir, { ...entry, phase: 'done' });
      } catch (error) {
        // An interruption leaves it to the next run, which finds the journal.
        if (!signal.aborted) await settleRestore(stateDir, part, live, signal);
        throw error;
      }
      await beside.drop();
      return before.name;
    },
    async swapBack() {
      if (restored) await putBack(stateDir, restored, live, signal);
    },
  };
}

/** Restores a bucket to another one of its server, which must be empty or absent. */
export function bucketCopier(
  part: BucketPart,
  target: string,
  address: BucketAddress,
  access: BucketAccess,
  recovery: Omit<Recovery, 'appDir' | 'stateDir'>,
  open: typeof openBucket = openBucket,
): Restorer {
  const opened = async () => (await open(address, access)).sibling(target);
  return {
    part,
    plan: [`restore ${count(part.files, 'object')} (${bytes(part.bytesIn)}) to bucket ${target}`],
    async prepare() {
      const bucket = await opened();
      if (!(await bucket.exists())) return;
      for await (const { key } of bucket.list()) {
        const message = `${part.name}: the ${bucket.address()} is not empty: it has ${JSON.stringify(key)}`;
        throw new Failure(message, {
          exit: EXIT.usage,
          next: 'name a bucket that does not exist; what an interrupted restore left there can be removed',
        });
      }
    },
    async restoreBeside(step) {
      const bucket = await opened();
      const objects = await objectsOf(part, recovery);
      const created = !(await bucket.exists());
      if (created) await bucket.create();
      const discard = created ? bucket.drop : bucket.clear;
      await fill(part, objects, bucket, recovery, step, discard);
      step.note(`${count(objects.length, 'object')}, ${bytes(part.bytesIn)}`);
      return {
        ...{ place: bucket.address(), compare: () => differences(bucket, objects), discard },
        ...STAYS,
      };
    },
  };
}

type Access = Pick<Recovery, 'id' | 'store' | 'decrypter' | 'signal'>;

/** The objects that a part lists; from the store, so that a drill proves that the list is there. */
async function objectsOf(part: BucketPart, { id, store, decrypter }: Access): Promise<ObjectEntry[]> {
  return [...parseObjects(await readTree(part, { store, decrypter }), { ...part, backup: id })];
}

/** What an upload in parts holds in memory. */
const UPLOAD_MEMORY = 24e6;

/**
 * Puts objects of a backup into a bucket, with their headers. Each one's SHA-256 is checked before it is there.
 * @param clean done when it fails; the failure to report is the first
 */
async function fill(
  part: BucketPart,
  objects: readonly ObjectEntry[],
  bucket: Bucket,
  access: Access,
  step: Step,
  clean: () => Promise<void>,
): Promise<void> {
  try {
    await restoreContents(part, access, step, {
      entries: objects,
      nameOf: ({ key }) => JSON.stringify(key),
      small: SMALL,
      flowMemory: UPLOAD_MEMORY,
      put: ({ key, size, headers }, content) =>
        content instanceof Uint8Array
          ? bucket.put(key, content, headers)
          : bucket.putStream(key, content, size, headers),
    });
  } catch (error) {
    await clean().catch(() => {});
    throw error;
  }
}

/** How a bucket differs from the objects that were put into it, by a listing. */
async function differences(bucket: Bucket, objects: readonly ObjectEntry[]): Promise<string[]> {
  const sizes = new Map<string, number>();
  for await (const { key, size } of bucket.list()) sizes.set(key, size);
  const found = objects.flatMap(({ key, size }) => {
    const is = sizes.get(key);
    sizes.delete(key);
    if (is === undefined) return [`${JSON.stringify(key)}: is missing`];
    return is === size ? [] : [`${JSON.stringify(key)}: size is ${is}, was ${size}`];
  });
  for (const key of sizes.keys()) found.push(`${JSON.stringify(key)}: is not in the backup`);
  return firstOf(found);
}

const keys = z.array(z.string().min(1).max(1024));

const restorationSchema = z.object({
  part: fileName,
  /** The backup whose objects were written. */
  id: backupId,
  /** The bucket that has what was overwritten. */
  before: z.string(),
  overwritten: keys,
  added: keys,
  /** `saving` copies what will be overwritten, `writing` changes the live bucket; those of an undo do so backwards. */
  phase: z.enum(['saving', 'writing', 'done', 'undo-saving', 'undo-writing']),
  /** The bucket that gets what an undo removes. */
  undone: z.string().optional(),
});

/** One restore into a live bucket. */
type Restoration = Readonly<z.infer<typeof restorationSchema>>;

const journal = new Journals('restored-bucket', restorationSchema);

/** Refuses to back up a bucket in which a restore that was cut off mixed the objects of two backups. @throws Failure */
export const refuseHalfRestored = (work: Work, part: string): void =>
  journal.refuseCutOff(work, part, () => 'wrote objects');

/** Buckets are emptied and dropped by a journal: only those that a restore of this one makes. */
function refuseForeign(stateDir: string, { part, id, before, undone }: Restoration, live: Bucket): void {
  const isSibling = (name: string, suffix: string) => {
    const n = /-(\d+)$/.exec(name)?.[1];
    return [suffix, `${suffix}-${n}`].some((one) => siblingName(live.name, one) === name);
  };
  if (isSibling(before, `-before-${id}`) && (!undone || isSibling(undone, `-undone-${id}`))) return;
  const named = [before, ...(undone === undefined ? [] : [undone])].map(quoted).join(', ');
  throw journal.refused(stateDir, part, `it names ${named}, which is not one of its buckets`);
}

/** Copies objects from bucket to bucket of one server; those that are gone are passed over. */
const copyAll = (keys: readonly string[], from: Bucket, to: Bucket, signal: AbortSignal): Promise<void> =>
  forEach(keys, { signal, act: async (key) => void (await from.copy(key, to)) });

async function ensure(bucket: Bucket): Promise<void> {
  if (!(await bucket.exists())) await bucket.create();
}

/** Puts the live bucket back to what it was before a restore, however far that had come. */
async function putBack(
  stateDir: string,
  { part, phase, before, overwritten, added }: Restoration,
  live: Bucket,
  signal: AbortSignal,
): Promise<void> {
  const old = live.sibling(before);
  if (phase !== 'saving') {
    await copyAll(overwritten, old, live, signal);
    await live.remove(added);
  }
  // All that it has is in the live bucket again.
  if (await old.exists()) await old.drop();
  journal.remove(stateDir, part);
}

/** Ends what was cut off: a restore is put back, an undo is finished. */
async function settleRestore(
  stateDir: string,
  part: string,
  live: Bucket,
  signal: AbortSignal,
): Promise<void> {
  const restoration = journal.cutOff(stateDir, part);
  if (!restoration) return;
  refuseForeign(stateDir, restoration, live);
  if (restoration.phase.startsWith('undo')) await finishUndo(stateDir, restoration, live, signal);
  else await putBack(stateDir, restoration, live, signal);
}

/**
 * Puts back what the last restore from this host overwrote in the bucket that an item of BACKUP_BUCKETS names, and
 * removes what it added; both are kept in a bucket of their own.
 * @returns the backup that had been restored, and that bucket
 */
export async function undoBucket(
  address: BucketAddress,
  access: BucketAccess,
  stateDir: string,
  open: typeof openBucket = openBucket,
): Promise<{ id: string; kept: string }> {
  const live = await open(address, access);
  const restoration = journal.toUndo(stateDir, partName(address));
  refuseForeign(stateDir, restoration, live);
  const { id, phase } = restoration;
  const undone = restoration.undone ?? (await freeSibling(live, `-undone-${id}`)).name;
  if (phase === 'saving') {
    // Nothing live was changed yet: there is nothing to keep of it.
    await putBack(stateDir, restoration, live, access.signal);
  } else {
    const undoing = phase === 'undo-writing' ? phase : 'undo-saving';
    const started = journal.write(stateDir, { ...restoration, undone, phase: undoing });
    await finishUndo(stateDir, started, live, access.signal);
  }
  return { id, kept: undone };
}

async function finishUndo(
  stateDir: string,
  restoration: Restoration,
  live: Bucket,
  signal: AbortSignal,
): Promise<void> {
  const { undone = '', overwritten, added, phase } = restoration;
  const writing = { ...restoration, phase: 'undo-writing' as const };
  if (phase === 'undo-saving') {
    const kept = live.sibling(undone);
    await ensure(kept);
    await copyAll([...overwritten, ...added], live, kept, signal);
    journal.write(stateDir, writing);
  }
  await putBack(stateDir, writing, live, signal);
}
