import { Failure, messageOf } from '../failure.ts';
import { type BucketAddress, partName } from './addresses.ts';
import { type Known, measureOf, SMALL } from './blobs.ts';
import { type Bucket, type BucketAccess, type ListedObject, openBucket } from './bucket.ts';
import { type Flow, measured } from './encryption.ts';
import type { Source } from './manifest.ts';
import { refuseHalfRestored } from './restore-bucket.ts';
import { prepareTree, type Reading, type Saver } from './save-tree.ts';
import type { Headers } from './schema.ts';
import { type ObjectEntry, objectLine } from './tree.ts';

/** A bucket as a part of a backup: incremental, each content stored once under its SHA-256. */
export function bucketSource(
  address: BucketAddress,
  access: BucketAccess,
  open: typeof openBucket = openBucket,
): Source {
  const name = partName(address);
  const source: Source = {
    kind: 'bucket',
    name,
    uri: address.uri,
    async prepare(work) {
      refuseHalfRestored(work, name);
      const bucket = await open(address, access);
      if ((await isEmpty(bucket)) && !work.allowEmpty) {
        throw new Failure(`${name}: there is no object in the ${bucket.address()}`, {
          next: 'correct BACKUP_BUCKETS, or pass --allow-empty if it is meant to be empty',
        });
      }
      const reading = `list ${address.uri}, and read the objects that are new or changed`;
      return prepareTree(source, work, reading, async (saver) => {
        const entries = await saveObjects(name, bucket, saver);
        entries.sort((a, b) => (a.key < b.key ? -1 : 1));
        const bytesIn = entries.reduce((sum, { size }) => sum + size, 0);
        const numbers = { files: entries.length, directories: 0, symlinks: 0, bytesIn };
        return { lines: entries.values().map(objectLine), numbers };
      });
    },
  };
  return source;
}

async function isEmpty(bucket: Bucket): Promise<boolean> {
  for await (const _ of bucket.list()) return false;
  return true;
}

/** Stores the objects that are new or changed. */
async function saveObjects(part: string, bucket: Bucket, saver: Saver): Promise<ObjectEntry[]> {
  const entries: ObjectEntry[] = [];
  const unread: ListedObject[] = [];
  for await (const object of bucket.list()) {
    const known = saver.unchanged(object.key, stampOf(object), object.size);
    if (known) entries.push(entryOf(object, known));
    else unread.push(object);
  }
  await saver.forEach(unread, entries.length + unread.length, async ({ key }) => {
    const label = `${part}: the object ${JSON.stringify(key)}`;
    const next = 'run the backup again when it is written to less';
    const found = await saver.store(label, next, () => readObject(bucket, key));
    if (!found) return false;
    const { headers, measure } = found;
    const known = { stamp: stampOf(found), sha256: measure.sha256, headers };
    saver.known.set(key, known);
    entries.push(entryOf({ key, ...found }, known));
    return true;
  });
  return entries;
}

/** Its fields are always in this order: a tree of the same objects is the same content. */
const entryOf = (object: ListedObject, { sha256, headers = {} }: Known): ObjectEntry => {
  const { key, size, etag, modified } = object;
  return { key, size, sha256, etag, modified, headers };
};

/** What changes when an object is written, be it with the same bytes and other headers. */
const stampOf = ({ size, etag, modified }: Omit<ListedObject, 'key'>): string =>
  `${size}:${etag}:${modified}`;

/** An object as it was at one moment. */
type ObjectReading = Omit<ListedObject, 'key'> & Reading & { headers: Headers };

/** Reads an object as it is now: a small one's bytes, of a large one only the measure. */
async function readObject(bucket: Bucket, key: string): Promise<ObjectReading | 'changing' | undefined> {
  const found = await bucket.get(key);
  if (!found) return undefined;
  const { body, ...object } = found;
  const flow = explained(bucket, key, body);
  if (object.size <= SMALL) {
    const content = Buffer.concat(await Array.fromAsync(flow));
    return content.length === object.size ? { ...object, content, measure: measureOf(content) } : 'changing';
  }
  const reading = measured(flow);
  for await (const _ of reading.flow);
  const measure = reading.result();
  async function* again(): AsyncGenerator<Uint8Array> {
    const second = await bucket.get(key, object.etag);
    // Nothing where it is another by now, which the measure tells.
    if (second) yield* explained(bucket, key, second.body);
  }
  return measure.bytes === object.size ? { ...object, content: again, measure } : 'changing';
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
