import { createReadStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { awsFailure, s3Client } from '../../aws.ts';
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
      throw awsFailure(error, `s3:${call}`, `${uri}${path}`);
    }
  };

  return {
    uri,
    list: () =>
      tried('ListBucket', '', async () => {
        const found: Remote[] = [];
        for await (const page of s3.paginateListObjectsV2({ client }, { Bucket, Prefix: prefix }, options))
          for (const { Key = '', Size = 0, ETag = '' } of page.Contents ?? [])
            found.push({ path: Key.slice(prefix.length), bytes: Size, etag: ETag.replaceAll('"', '') });
        return found;
      }),
    hasHeaders: ({ path, contentType, cacheControl }) =>
      tried('GetObject', path, async () => {
        const head = await client.send(new s3.HeadObjectCommand(at(path)), options);
        return head.ContentType === contentType && head.CacheControl === cacheControl;
      }),
    put: ({ path, file, bytes, md5, contentType, cacheControl }) =>
      tried('PutObject', path, async () => {
        const command = new s3.PutObjectCommand({
          ...at(path),
          Body: bytes <= WHOLE ? await readFile(file) : createReadStream(file),
          ContentLength: bytes,
          // S3 refuses a file that has changed since it was looked at.
          ContentMD5: Buffer.from(md5, 'hex').toString('base64'),
          ContentType: contentType,
          CacheControl: cacheControl,
        });
        await client.send(command, options);
      }),
    async remove(paths) {
      for (let i = 0; i < paths.length; i += DELETED_AT_ONCE) {
        const some = paths.slice(i, i + DELETED_AT_ONCE);
        const Delete = { Objects: some.map((path) => ({ Key: at(path).Key })), Quiet: true };
        const { Errors: [first] = [] } = await tried('DeleteObject', some[0] ?? '', () =>
          client.send(new s3.DeleteObjectsCommand({ Bucket, Delete }), options),
        );
        // DeleteObjects answers 200 and lists what it did not delete.
        if (first)
          throw new Failure(`DeleteObject s3://${Bucket}/${first.Key}: ${first.Code}`, {
            next: 'use credentials that are allowed s3:DeleteObject',
          });
      }
    },
  };
}
