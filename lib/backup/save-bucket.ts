import { Failure, messageOf } from '../failure.ts';
import type { Step } from '../output.ts';
import { forEach } from '../pool.ts';
import { type BucketAddress, fromText, partName } from './addresses.ts';
import { type Bucket, type BucketAccess, type ListedObject, type OpenObject, openBucket } from './bucket.ts';
import { isCutOff, readJournal } from './bucket-journal.ts';
import type { Known } from './contents.ts';
import { type Flow, type Measure, measured } from './encryption.ts';
import { beginSaving, endSaving, type Saved, type Saving } from './lists.ts';
import type { Prepared, Source, Work } from './manifest.ts';
import { measureOf, SMALL } from './read.ts';
import { memoryFor, storeContent } from './transfer.ts';
import { type ObjectEntry, objectLine } from './tree.ts';
import { isReadable } from './walk.ts';

const TRIES = 3;

/** What changes when an object is written, be it with the same bytes and other headers. */
const stampOf = ({ size, etag, modified }: Omit<ListedObject, 'key'>): string =>
  `${size}:${etag}:${modified}`;

/** Stores what is new in a bucket, and the list of all that it has. */
async function saveBucket(source: Source, bucket: Bucket, work: Work, step: Step): Promise<Saved> {
  const saving = await beginSaving(source, work);
  const entries: ObjectEntry[] = [];
  const unread: ListedObject[] = [];
  for await (const object of bucket.list()) {
    const known = unchanged(object, saving);
    if (known) entries.push(entryOf(object, known));
    else unread.push(object);
  }
  let done = entries.length;
  const total = done + unread.length;
  await forEach(unread, {
    signal: work.signal,
    weigh: ({ size }) => memoryFor(size, SMALL, work.encrypter),
    act: async (object) => {
      const entry = await saveObject(bucket, object, saving);
      if (entry) entries.push(entry);
      else saving.gone += 1;
      done += 1;
      step.progress({ done, total, unit: 'files' });
    },
  });
  entries.sort((a, b) => (a.key < b.key ? -1 : 1));
  const bytesIn = entries.reduce((sum, { size }) => sum + size, 0);
  return endSaving(
    saving,
    linesOf(entries),
    { files: entries.length, directories: 0, symlinks: 0, bytesIn },
    step,
  );
}

function unchanged(object: ListedObject, { before, known, contents }: Saving): Known | undefined {
  const last = before.get(object.key);
  if (last?.stamp !== stampOf(object) || !contents.hasStill({ sha256: last.sha256, bytes: object.size }))
    return undefined;
  known.set(object.key, last);
  return last;
}

const entryOf = (object: ListedObject, { sha256, headers = {} }: Known): ObjectEntry => {
  const { key, size, etag, modified } = object;
  return { key, size, sha256, etag, modified, headers };
};

/** Reads and stores an object as it is now; nothing where it vanished. */
async function saveObject(
  bucket: Bucket,
  { key }: ListedObject,
  saving: Saving,
): Promise<ObjectEntry | undefined> {
  const { source, work, contents, known } = saving;
  const { store, encrypter } = work;
  for (let attempt = 1; attempt <= TRIES; attempt += 1) {
    const open = await bucket.get(key);
    if (!open) return undefined;
    const { measure, content } = await read(bucket, key, open);
    if (measure.bytes !== open.size) continue;
    let changed = false;
    const again = async function* () {
      const second = await bucket.get(key, open.etag);
      changed = second === undefined;
      if (!second) throw new Error('the object changed');
      const reading = measured(second.body);
      yield* explained(bucket, key, reading.flow);
      changed = reading.result().sha256 !== measure.sha256;
      if (changed) throw new Error('the object changed');
    };
    try {
      await storeContent({ store, encrypter, contents }, measure, content ?? again);
    } catch (error) {
      if (changed) continue;
      throw error;
    }
    const now: Known = { stamp: stampOf(open), sha256: measure.sha256, headers: open.headers };
    known.set(key, now);
    return entryOf({ key, ...open }, now);
  }
  throw new Failure(
    `${source.name}: the object ${JSON.stringify(key)} changed while it was read, ${TRIES} times`,
    {
      next: 'run the backup again when it is written to less',
    },
  );
}

/** A small object's bytes, or of a large one only the measure: it is read again to be stored. */
async function read(
  bucket: Bucket,
  key: string,
  { size, body }: OpenObject,
): Promise<{ measure: Measure; content?: Uint8Array }> {
  if (size <= SMALL) {
    const content = Buffer.concat(await Array.fromAsync(explained(bucket, key, body)));
    return { measure: measureOf(content), content };
  }
  const reading = measured(explained(bucket, key, body));
  for await (const _ of reading.flow);
  return { measure: reading.result() };
}

/** Says of which object a connection that broke brought the bytes. */
async function* explained(bucket: Bucket, key: string, body: Flow): AsyncGenerator<Uint8Array> {
  try {
    yield* body;
  } catch (cause) {
    throw new Failure(`GetObject ${bucket.address(key)}: ${messageOf(cause)}`, {
      next: 'run the backup again',
      cause,
    });
  }
}

function* linesOf(entries: readonly ObjectEntry[]): Generator<string> {
  for (const entry of entries) yield objectLine(entry);
}

/** A bucket as a part of a backup: incremental, each content stored once under its SHA-256. */
export function bucketSource(
  address: BucketAddress,
  access: BucketAccess,
  open: typeof openBucket = openBucket,
): Source {
  const source: Source = {
    kind: 'bucket',
    name: partName(address),
    uri: address.uri,
    async prepare(work): Promise<Prepared> {
      refuseHalfRestored(source.name, work);
      const bucket = await open(address, access);
      if ((await isEmpty(bucket)) && !work.allowEmpty) {
        throw new Failure(`${source.name}: there is no object in the ${bucket.address()}`, {
          next: 'correct BACKUP_BUCKETS, or say --allow-empty if it is meant to be empty',
        });
      }
      let saved: Saved | undefined;
      return {
        source,
        plan: [
          `list ${address.uri}, and read the objects that are new or changed`,
          `store each content that is not there yet at ${work.store.address('content/')}`,
        ],
        async save(step) {
          saved = await saveBucket(source, bucket, work, step);
          return saved.record;
        },
        confirm: async () => saved?.confirm(),
        committed: async () => saved?.committed(),
      };
    },
  };
  return source;
}

async function isEmpty(bucket: Bucket): Promise<boolean> {
  for await (const _ of bucket.list()) return false;
  return true;
}

/** Objects of two backups are mixed then: a backup of that would be a wrong one. */
function refuseHalfRestored(name: string, { stateDir, appDir }: Work): void {
  const folder = stateDir ?? `${appDir}/.opsbook`;
  const journal = isReadable(fromText(folder)) ? readJournal(folder, name) : undefined;
  if (!isCutOff(journal)) return;
  throw new Failure(`${name}: the restore of ${journal.id} was cut off while it wrote objects`, {
    next: 'restore it again, or take it back: npx tsx scripts/backup/restore.ts --undo',
  });
}
