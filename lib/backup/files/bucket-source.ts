import { Failure } from '../../failure.ts';
import { partName } from '../names.ts';
import type { Prepared, Source, Work } from '../part.ts';
import type { BucketAddress } from './address.ts';
import type { Bucket } from './bucket.ts';
import { isCutOff, readJournal } from './bucket-journal.ts';
import { fromText } from './paths.ts';
import { type BucketAccess, openBucket } from './s3-bucket.ts';
import { saveBucket } from './save-bucket.ts';
import type { Saved } from './saving.ts';
import { isReadable } from './walk.ts';

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
