import { createHash, randomBytes } from 'node:crypto';
import type { Readable } from 'node:stream';
import { ListObjectsV2Command, PutObjectCommand, S3Client } from '@aws-sdk/client-s3';
import { Upload } from '@aws-sdk/lib-storage';
import { world } from '../world.ts';
import { region } from './aws.ts';
import { buckets } from './seed.ts';

export const { aws } = await world();
export const Bucket = buckets.bloaty;
const as = (user: string): S3Client =>
  new S3Client({
    endpoint: aws.url,
    region,
    forcePathStyle: true,
    maxAttempts: 1,
    credentials: aws.users[user]!,
  });
export const writer = as('backup-writer');
export const pruner = as('backup-pruner');
export const reader = as('backup-reader');
export const admin = as('admin');
let failed = 0;

/** Runs one call; `expected` is `ok` or the status and name of the error that S3 answers. */
export async function check(title: string, expected: string, call: () => Promise<unknown>): Promise<void> {
  const got = await call().then(
    (value) => (typeof value === 'string' ? value : 'ok'),
    (error) => `${error.$metadata?.httpStatusCode} ${error.name}`,
  );
  if (got !== expected) failed += 1;
  console.log(
    `${got === expected ? 'ok  ' : 'FAIL'} ${title}: ${got}${got === expected ? '' : `, not ${expected}`}`,
  );
}

export const keys = ['a b/ü +&?#%é.txt', 'a b/2', 'a b/3=4~(5)', 'c/d//e', 'quote\'"<>&.txt'];
/** Everything happens below this prefix: the bucket may hold backups that someone wants to keep. */
export const below = `check-${randomBytes(4).toString('hex')}/`;
export const content = randomBytes(100_000);
export const sha256 = (data: Buffer): string => createHash('sha256').update(data).digest('base64');
export const put = (client: S3Client, Key: string, more: object = {}): Promise<unknown> =>
  client.send(new PutObjectCommand({ Bucket, Key: below + Key, Body: content, ...more }));

export async function listAll(
  client: S3Client,
  { Prefix = '', Delimiter }: { Prefix?: string; Delimiter?: string },
): Promise<string> {
  const found: string[] = [];
  let token: string | undefined;
  do {
    const page = await client.send(
      new ListObjectsV2Command({
        Bucket,
        MaxKeys: 2,
        ContinuationToken: token,
        Prefix: below + Prefix,
        Delimiter,
      }),
    );
    found.push(
      ...(page.Contents ?? []).map((o) => o.Key!),
      ...(page.CommonPrefixes ?? []).map((p) => p.Prefix!),
    );
    token = page.NextContinuationToken;
  } while (token);
  return found
    .map((name) => name.slice(below.length))
    .sort()
    .join(' | ');
}

export const upload = (
  client: S3Client,
  Key: string,
  Body: Buffer | Readable,
  more: object = {},
): Promise<unknown> =>
  new Upload({ client, params: { Bucket, Key: below + Key, Body, ...more }, partSize: 5 << 20 }).done();

/** Says how it went and sets the exit code. */
export function finish(): void {
  console.log(failed === 0 ? 'all as S3 does' : `${failed} failed`);
  process.exitCode = failed === 0 ? 0 : 1;
}
