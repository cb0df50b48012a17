import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import {
  CreateBucketCommand,
  DeleteObjectsCommand,
  ListObjectsV2Command,
  S3Client,
} from '@aws-sdk/client-s3';
import { region } from '../../sandbox/cloud/aws.ts';
import { directory } from '../../sandbox/names.ts';
import { atEnd } from '../cleanup.ts';
import { type Sink, startSink } from '../sink/start.ts';
import { awsEnvironment, type Bench } from '../world.ts';

/** A place to back up to. */
export interface Target {
  /** As the table calls it. */
  name: string;
  /** BACKUP_STORE. */
  store: string;
  /** What a client needs to reach it; nothing for a directory. */
  env: Record<string, string>;
  empty(): Promise<void>;
}

const bucket = 'bench-backups';

/** A directory on the machine's disk. */
export function fileTarget(bench: Bench): Target & { path: string } {
  const path = directory(bench.dir, 'store');
  const empty = async (): Promise<void> => {
    await rm(path, { recursive: true, force: true });
    directory(path);
  };
  return { name: 'file://', store: `file://${path}`, env: {}, empty, path };
}

/** A client for the emulator, as its administrator. */
export function emulatorClient({ aws }: Bench): S3Client {
  return new S3Client({ endpoint: aws.url, region, credentials: aws.credentials, forcePathStyle: true });
}

/** The sandbox's AWS, in a bucket without versions: what is deleted there is gone. */
export async function emulatorTarget(bench: Bench): Promise<Target> {
  const client = emulatorClient(bench);
  const Bucket = bucket;
  const CreateBucketConfiguration = { LocationConstraint: region } as const;
  await client.send(new CreateBucketCommand({ Bucket, CreateBucketConfiguration })).catch((error: Error) => {
    if (error.name !== 'BucketAlreadyOwnedByYou') throw error;
  });
  const empty = async (): Promise<void> => {
    for (;;) {
      const { Contents = [] } = await client.send(new ListObjectsV2Command({ Bucket }));
      if (Contents.length === 0) return;
      const Objects = Contents.map(({ Key }) => ({ Key }));
      await client.send(new DeleteObjectsCommand({ Bucket, Delete: { Objects, Quiet: true } }));
    }
  };
  atEnd(empty);
  return { name: 'S3 (emulator)', store: `s3://${bucket}`, env: awsEnvironment(bench), empty };
}

/** The sink: S3's protocol over a store that keeps nothing. */
export async function sinkTarget(bench: Bench): Promise<Target & { sink: Sink; bucket: string }> {
  const sink = await startSink();
  return {
    ...{ name: 'S3 (sink)', store: `s3://${bucket}`, env: awsEnvironment(bench, sink.url), sink, bucket },
    empty: () => sink.empty(bucket),
  };
}

/** Where the AWS CLI puts a file. */
export const addressIn = (target: Target, ...path: string[]): string =>
  join(target.store, ...path).replace(/^s3:\//, 's3://');
