import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join, normalize } from 'node:path';
import {
  CreateBucketCommand,
  GetObjectCommand,
  NoSuchKey,
  PutObjectCommand,
  S3Client,
} from '@aws-sdk/client-s3';

/** Where uploaded files are kept: bloaty's on disk, chitram's in a bucket. */
export interface Uploads {
  /** Makes the place, where it is ours to make. */
  prepare(): Promise<void>;
  put(name: string, content: Buffer, type: string): Promise<void>;
  get(name: string): Promise<Buffer | undefined>;
}

function onDisk(dir: string): Uploads {
  const path = (name: string): string => join(dir, normalize(`/${name}`));
  return {
    async prepare() {
      await mkdir(dir, { recursive: true });
    },
    async put(name, content) {
      await mkdir(dirname(path(name)), { recursive: true });
      await writeFile(path(name), content);
    },
    async get(name) {
      return readFile(path(name)).catch((error) => {
        if (error.code === 'ENOENT') return undefined;
        throw error;
      });
    },
  };
}

function inBucket(bucket: string): Uploads {
  // Endpoint and credentials come from AWS_ENDPOINT_URL and AWS_ACCESS_KEY_ID of the container.
  const s3 = new S3Client({ forcePathStyle: true, region: process.env.AWS_REGION ?? 'us-east-1' });
  return {
    async prepare() {
      await s3.send(new CreateBucketCommand({ Bucket: bucket })).catch((error: Error) => {
        if (!/^Bucket(AlreadyOwnedByYou|AlreadyExists)$/.test(error.name)) throw error;
      });
    },
    async put(name, content, type) {
      await s3.send(new PutObjectCommand({ Bucket: bucket, Key: name, Body: content, ContentType: type }));
    },
    async get(name) {
      try {
        const { Body } = await s3.send(new GetObjectCommand({ Bucket: bucket, Key: name }));
        return Buffer.from(await Body!.transformToByteArray());
      } catch (error) {
        if (error instanceof NoSuchKey) return undefined;
        throw error;
      }
    },
  };
}

const { UPLOADS_BUCKET, UPLOADS_DIR = '/app/uploads' } = process.env;
export const uploads = UPLOADS_BUCKET ? inBucket(UPLOADS_BUCKET) : onDisk(UPLOADS_DIR);
