import { s3Client } from '../../aws.ts';
import { awsFailure } from '../../aws-failure.ts';
import type { Compose } from '../../compose.ts';
import { Failure } from '../../failure.ts';
import type { Host } from '../../host.ts';
import { forEach } from '../../pool.ts';
import type { Secret } from '../../secret.ts';
import type { BucketAddress } from './address.ts';
import type { Bucket } from './bucket.ts';
import { copy, creation, exists, get, list, type Server, upload } from './s3-calls.ts';

/** What reaching a bucket takes. */
export interface BucketAccess {
  host: Host;
  compose: Compose;
  /** Of buckets in AWS; other servers are asked in us-east-1, which is what they say they are. */
  region: string | undefined;
  credentials: { accessKeyId: string; secretAccessKey: Secret } | undefined;
  signal: AbortSignal;
}

/** Opens the bucket that an item of BACKUP_BUCKETS names. @throws Failure when its compose service does not run */
export async function openBucket({ name, endpoint }: BucketAddress, access: BucketAccess): Promise<Bucket> {
  const s3 = await import('@aws-sdk/client-s3');
  const url = endpoint && ('url' in endpoint ? endpoint.url : await addressOf(endpoint, access));
  const client = await s3Client({
    region: endpoint ? undefined : access.region,
    endpoint: url,
    credentials: access.credentials,
  });
  return s3Bucket(name, { s3, client, signal: access.signal });
}

/** Where a compose service listens, seen from its host. */
async function addressOf(
  { service, port }: { service: string; port: number },
  { compose, host }: BucketAccess,
): Promise<string> {
  const container = await compose.container(service);
  if (!container) {
    throw new Failure(`the compose service ${service} of BACKUP_BUCKETS does not run`, {
      next: `start it: docker compose up -d ${service}`,
    });
  }
  const format = '{{range .NetworkSettings.Networks}}{{println .IPAddress}}{{end}}';
  const addresses = await host.run({ argv: ['docker', 'inspect', '--format', format, container] });
  const address = addresses.split('\n').find((line) => line.trim() !== '');
  if (address) return `http://${address.trim()}:${port}`;
  throw new Failure(`the container ${container} has no address of its own`, {
    next: 'publish its port, and write endpoint=http://127.0.0.1:PORT',
  });
}

function s3Bucket(name: string, server: Server): Bucket {
  const { s3, client, signal } = server;
  const options = { abortSignal: signal };
  const at = (key: string) => ({ Bucket: name, Key: key });
  const address = (key?: string) =>
    key === undefined ? `bucket ${name}` : `bucket ${name}, ${JSON.stringify(key)}`;
  const asked = <T>(call: string, on: string, act: () => Promise<T>): Promise<T> =>
    explaining(server, call, on, act);
  const bucket: Bucket = {
    name,
    address,
    list: () => list(name, server),
    get: (key, etag) => asked('GetObject', address(key), () => get(at(key), etag, server)),
    put: (key, Body, headers) =>
      asked('PutObject', address(key), async () => {
        await client.send(new s3.PutObjectCommand({ ...headers, ...at(key), Body }), options);
      }),
    putStream: (key, body, size, headers) =>
      asked('PutObject', address(key), () => upload({ ...headers, ...at(key) }, body, size, server)),
    copy: (key, to) =>
      asked('CopyObject', `${address(key)} to ${to.address()}`, () => copy(bucket, key, to, server)),
    remove: (keys) =>
      forEach(keys, {
        signal,
        // One by one: DeleteObjects wants a header that not every server and SDK agree on.
        act: (key) =>
          asked('DeleteObject', address(key), async () => {
            await client.send(new s3.DeleteObjectCommand(at(key)), options);
          }),
      }),
    sibling: (other) => s3Bucket(other, server),
    exists: () => asked('HeadBucket', address(), () => exists(name, server)),
    create: () =>
      asked('CreateBucket', address(), async () => {
        await client.send(new s3.CreateBucketCommand(await creation(name, client)), options);
      }),
    async clear() {
      const keys: string[] = [];
      for await (const { key } of bucket.list()) keys.push(key);
      await bucket.remove(keys);
    },
    async drop() {
      await bucket.clear();
      const command = new s3.DeleteBucketCommand({ Bucket: name });
      await asked('DeleteBucket', address(), () => client.send(command, options));
    },
  };
  return bucket;
}

async function explaining<T>(
  { signal }: Server,
  call: string,
  on: string,
  act: () => Promise<T>,
): Promise<T> {
  try {
    return await act();
  } catch (error) {
    if (signal.aborted) throw signal.reason;
    throw error instanceof Failure ? error : awsFailure(error, call, on);
  }
}
