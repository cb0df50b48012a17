import { EXIT, Failure } from '../../failure.ts';
import { bytes, count } from '../../format.ts';
import type { Step } from '../../report.ts';
import type { BucketPart } from '../manifest.ts';
import type { Recovery } from '../part.ts';
import type { BucketAddress } from './address.ts';
import { fillBucket, objectsOfPart, unlike } from './fill-bucket.ts';
import type { Copier } from './restore-directory.ts';
import { type BucketAccess, openBucket } from './s3-bucket.ts';

/** Brings a bucket back to another one of its server, which must be empty or absent. */
export function bucketCopier(
  part: BucketPart,
  target: string,
  address: BucketAddress,
  access: BucketAccess,
  recovery: Omit<Recovery, 'appDir' | 'stateDir'>,
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
