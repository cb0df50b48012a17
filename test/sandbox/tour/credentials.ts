import type { Scripts } from './scripts.ts';

/** Whether the role that takes backups gets one out of the store. */
export async function mayRead({ env }: Scripts): Promise<boolean> {
  const { GetObjectCommand, ListObjectsV2Command, S3Client } = await import('@aws-sdk/client-s3');
  const client = new S3Client({
    endpoint: env['AWS_ENDPOINT_URL'] ?? '',
    region: env['AWS_REGION'] ?? '',
    forcePathStyle: true,
    credentials: {
      accessKeyId: env['AWS_ACCESS_KEY_ID'] ?? '',
      secretAccessKey: env['AWS_SECRET_ACCESS_KEY'] ?? '',
    },
  });
  const Bucket = /^s3:\/\/([^/]+)/.exec(env['BACKUP_STORE'] ?? '')?.[1];
  const { Contents = [] } = await client.send(new ListObjectsV2Command({ Bucket }));
  const Key = Contents.find((object) => object.Key?.endsWith('.dump'))?.Key;
  process.stdout.write(`\nGetObject s3://${Bucket}/${Key}\n`);
  try {
    await client.send(new GetObjectCommand({ Bucket, Key }));
    return true;
  } catch (error) {
    process.stdout.write(`${(error as Error).name}: ${(error as Error).message}\n`);
    if ((error as { $metadata?: { httpStatusCode?: number } }).$metadata?.httpStatusCode !== 403) throw error;
    return false;
  }
}
