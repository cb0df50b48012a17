import { execa } from 'execa';
import { checkout } from '../names.ts';

/** The scripts, run as the tour's reader would run them. */
export interface Scripts {
  readonly env: Readonly<Record<string, string>>;
  /** Shows the command and runs it, its output going where ours goes. @throws Error when it fails */
  run(script: string, args: readonly string[], as?: 'reader'): Promise<void>;
}

/** The scripts of the backup area with the settings of a sandbox. */
export function scripts(env: Readonly<Record<string, string>>): Scripts {
  return {
    env,
    async run(script, args, as) {
      const file = `scripts/backup/${script}.ts`;
      const note = as ? "   # with the reader's credentials" : '';
      process.stdout.write(`\n$ npx tsx ${[file, ...args].join(' ')}${note}\n`);
      await execa('tsx', [file, ...args], {
        cwd: checkout,
        preferLocal: true,
        stdio: 'inherit',
        env: { ...env, ...(as ? readerKeys(env) : {}) },
      });
    },
  };
}

const readerKeys = (env: Readonly<Record<string, string>>) => ({
  AWS_ACCESS_KEY_ID: env['SANDBOX_READER_ACCESS_KEY_ID'],
  AWS_SECRET_ACCESS_KEY: env['SANDBOX_READER_SECRET_ACCESS_KEY'],
});

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
