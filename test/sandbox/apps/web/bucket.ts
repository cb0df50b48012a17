import {
  CreateBucketCommand,
  GetObjectCommand,
  NoSuchKey,
  PutObjectCommand,
  S3Client,
} from '@aws-sdk/client-s3';
import type { Uploads } from './uploads.ts';

/** Uploads in a bucket of an S3-compatible store. */
export function inBucket(bucket: string): Uploads {
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
