import { createHash } from 'node:crypto';
import type { S3Client, _Error as S3Error } from '@aws-sdk/client-s3';
import { interruptible, s3Client } from '../aws.ts';
import { awsFailure, isRefused } from '../aws-failure.ts';
import { Failure } from '../failure.ts';
import { download, upload } from './s3-transfer.ts';
import { type Listed, Missing, type Store, type StoreAccess, Taken, Unreadable } from './store.ts';

const DELETED_AT_ONCE = 1000;

/** A store in S3, or in something that speaks its protocol. Writing needs PutObject and ListBucket, no more. */
export async function s3Store(bucket: string, folder: string, access: StoreAccess): Promise<Store> {
  const s3 = await import('@aws-sdk/client-s3');
  const client = await s3Client(access);
  const { signal } = access;
  const options = { abortSignal: signal };
  const uri = `s3://${bucket}/${folder}`;
  const at = (key: string) => ({ Bucket: bucket, Key: `${folder}/${key}` });
  const address = (key: string) => `${uri}/${key}`;

  async function* list(prefix: string): AsyncIterable<Listed> {
    const pages = s3.paginateListObjectsV2(
      { client },
      { Bucket: bucket, Prefix: `${folder}/${prefix}` },
      options,
    );
    try {
      for await (const page of pages) {
        for (const { Key = '', Size = 0, LastModified = new Date(0) } of page.Contents ?? []) {
          yield { key: Key.slice(folder.length + 1), bytes: Size, modified: LastModified };
        }
      }
    } catch (error) {
      throw explained(error, 'ListBucket', address(prefix), signal);
    }
  }

  async function put(key: string, body: Uint8Array): Promise<void> {
    const ChecksumSHA256 = createHash('sha256').update(body).digest('base64');
    try {
      await client.send(new s3.PutObjectCommand({ ...at(key), Body: body, ChecksumSHA256 }), options);
    } catch (error) {
      throw explained(error, 'PutObject', address(key), signal);
    }
  }

  return {
    uri,
    address,
    list,
    put,
    async check() {
      for await (const _ of list('backups/')) break;
    },
    async claim(key, body) {
      const command = { ...at(key), Body: body, IfNoneMatch: '*' };
      try {
        await client.send(new s3.PutObjectCommand(command), options);
      } catch (error) {
        const { name } = error as Error;
        if (name === 'PreconditionFailed' || name === 'ConditionalRequestConflict')
          throw new Taken(`${address(key)} is there already`);
        // A store that knows no conditions has no better answer than a listing, which was looked at.
        if (name !== 'NotImplemented') throw explained(error, 'PutObject', address(key), signal);
        await put(key, body);
      }
    },
    async putStream(key, body, most) {
      try {
        await upload(await interruptible(client, signal), at(key), body, most);
      } catch (error) {
        throw error instanceof Failure ? error : explained(error, 'PutObject', address(key), signal);
      }
    },
    async get(key) {
      try {
        return await download(client, at(key), signal);
      } catch (error) {
        if ((error as Error).name === 'NoSuchKey') throw missing(address(key), error);
        throw explained(error, 'GetObject', address(key), signal);
      }
    },
    async remove(keys) {
      for (let i = 0; i < keys.length; i += DELETED_AT_ONCE) {
        await removeSome(
          client,
          s3,
          bucket,
          keys.slice(i, i + DELETED_AT_ONCE).map((key) => at(key).Key),
        );
      }
    },
    settle: async () => {},
    async keepsVersions() {
      try {
        const command = new s3.GetBucketVersioningCommand({ Bucket: bucket });
        return (await client.send(command, options)).Status === 'Enabled';
      } catch {
        // Refused, or unknown to a store that speaks only the protocol's usual part.
        return undefined;
      }
    },
    free: async () => undefined,
  };
}

async function removeSome(
  client: S3Client,
  { DeleteObjectsCommand }: typeof import('@aws-sdk/client-s3'),
  bucket: string,
  keys: string[],
): Promise<void> {
  const Delete = { Objects: keys.map((Key) => ({ Key })), Quiet: true };
  let errors: S3Error[];
  try {
    ({ Errors: errors = [] } = await client.send(new DeleteObjectsCommand({ Bucket: bucket, Delete })));
  } catch (error) {
    throw awsFailure(error, 'DeleteObject', `s3://${bucket}/${keys[0]}`);
  }
  // DeleteObjects answers 200 and lists what it did not delete.
  const [first] = errors;
  if (first) {
    throw new Failure(
      `DeleteObject s3://${bucket}/${first.Key}: ${first.Code} (${errors.length} of ${keys.length})`,
      {
        next: 'use credentials that are allowed s3:DeleteObject',
      },
    );
  }
}

function missing(address: string, cause: unknown): Missing {
  return new Missing(`${address} is not there`, {
    next: 'npx tsx scripts/backup/list.ts shows what is',
    cause,
  });
}

function explained(error: unknown, call: string, address: string, signal: AbortSignal): unknown {
  if (signal.aborted) return signal.reason;
  if (call !== 'GetObject' || !isRefused(error)) return awsFailure(error, call, address);
  return new Unreadable(`GetObject ${address}: refused, these credentials may not read the store`, {
    next: 'run it with the credentials of a reader: the host that takes backups needs none',
    cause: error,
  });
}
