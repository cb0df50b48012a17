import { createReadStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import type { DeleteObjectsCommandOutput, _Object as S3Object } from '@aws-sdk/client-s3';
import { s3Client } from '../../aws.ts';
import { awsFailure } from '../../aws-failure.ts';
import { Failure } from '../../failure.ts';
import type { Asset } from './files.ts';
import type { Remote } from './plan.ts';
import type { BucketFolder } from './settings.ts';

/** Files up to this many bytes are read whole, so that an upload of one can be tried again. */
const WHOLE = 16e6;
const DELETED_AT_ONCE = 1000;

/** The bucket that static files are served from. Needs ListBucket, GetObject, PutObject and DeleteObject. */
export interface AssetBucket {
  readonly uri: string;
  list(): Promise<Remote[]>;
  /** Whether an object has the headers that the file is to have. */
  hasHeaders(asset: Asset): Promise<boolean>;
  put(asset: Asset): Promise<void>;
  remove(paths: readonly string[]): Promise<void>;
}

export async function openBucket(
  { bucket: Bucket, prefix }: BucketFolder,
  { region, signal }: { region: string | undefined; signal: AbortSignal },
): Promise<AssetBucket> {
  const s3 = await import('@aws-sdk/client-s3');
  const client = await s3Client({ region });
  const options = { abortSignal: signal };
  const uri = `s3://${Bucket}/${prefix}`;
  const at = (path: string) => ({ Bucket, Key: `${prefix}${path}` });
  const tried = async <T>(call: string, path: string, act: () => Promise<T>): Promise<T> => {
    try {
      return await act();
    } catch (error) {
      signal.throwIfAborted();
      throw error instanceof Failure ? error : awsFailure(error, `s3:${call}`, `${uri}${path}`);
    }
  };
  return {
    uri,
    list: () =>
      tried('ListBucket', '', async () => {
        const found: Remote[] = [];
        for await (const page of s3.paginateListObjectsV2({ client }, { Bucket, Prefix: prefix }, options))
          found.push(...(page.Contents ?? []).map((object) => remote(object, prefix)));
        return found;
      }),
    hasHeaders: ({ path, contentType, cacheControl }) =>
      tried('GetObject', path, async () => {
        const head = await client.send(new s3.HeadObjectCommand(at(path)), options);
        return head.ContentType === contentType && head.CacheControl === cacheControl;
      }),
    put: (asset) =>
      tried('PutObject', asset.path, async () => {
        const object = { ...at(asset.path), ...(await contentsOf(asset)) };
        await client.send(new s3.PutObjectCommand(object), options);
      }),
    async remove(paths) {
      for (let i = 0; i < paths.length; i += DELETED_AT_ONCE) {
        const some = paths.slice(i, i + DELETED_AT_ONCE);
        const Delete = { Objects: some.map((path) => ({ Key: at(path).Key })), Quiet: true };
        await tried('DeleteObject', some[0] ?? '', async () =>
          refuseErrors(Bucket, await client.send(new s3.DeleteObjectsCommand({ Bucket, Delete }), options)),
        );
      }
    },
  };
}

const remote = ({ Key = '', Size = 0, ETag = '' }: S3Object, prefix: string): Remote => ({
  path: Key.slice(prefix.length),
  bytes: Size,
  etag: ETag.replaceAll('"', ''),
});

async function contentsOf({ file, bytes, md5, contentType, cacheControl }: Asset) {
  return {
    Body: bytes <= WHOLE ? await readFile(file) : createReadStream(file),
    ContentLength: bytes,
    // S3 refuses a file that has changed since it was looked at.
    ContentMD5: Buffer.from(md5, 'hex').toString('base64'),
    ContentType: contentType,
    CacheControl: cacheControl,
  };
}

/** DeleteObjects answers 200 and lists what it did not delete. */
function refuseErrors(bucket: string, { Errors: [first] = [] }: DeleteObjectsCommandOutput): void {
  if (!first) return;
  throw new Failure(`DeleteObject s3://${bucket}/${first.Key}: ${first.Code}`, {
    next: 'use credentials that are allowed s3:DeleteObject',
  });
}
