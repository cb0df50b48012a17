/* Shows that the sandbox's S3 allows and refuses what S3 does: `npx tsx test/sandbox/cloud/check.ts`, after `npm run sandbox`. */
import { randomBytes } from 'node:crypto';
import { Readable } from 'node:stream';
import {
  CopyObjectCommand,
  DeleteObjectCommand,
  DeleteObjectsCommand,
  GetObjectCommand,
  HeadBucketCommand,
  HeadObjectCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  ListObjectVersionsCommand,
  S3Client,
} from '@aws-sdk/client-s3';
import { region } from './aws.ts';
import {
  admin,
  aws,
  Bucket,
  below,
  check,
  content,
  finish,
  keys,
  listAll,
  pruner,
  put,
  reader,
  sha256,
  upload,
  writer,
} from './check-kit.ts';
import { buckets } from './seed.ts';

for (const key of keys) await check(`writer puts ${key}`, 'ok', () => put(writer, key));
await check('writer puts with SHA-256', 'ok', () => put(writer, 'sum', { ChecksumSHA256: sha256(content) }));
await check('a wrong SHA-256 is refused', '400 BadDigest', () =>
  put(writer, 'bad', { ChecksumSHA256: sha256(Buffer.from('x')) }),
);
await check('If-None-Match on an existing key', '412 PreconditionFailed', () =>
  put(writer, 'sum', { IfNoneMatch: '*' }),
);
await check('If-None-Match on a new key', 'ok', () => put(writer, 'new', { IfNoneMatch: '*' }));
await check('a stream with a CRC32 trailer', 'ok', () =>
  put(writer, 'stream', {
    Body: Readable.from([content.subarray(0, 70_000), content.subarray(70_000)]),
    ContentLength: content.length,
  }),
);
const all = [...keys, 'sum', 'new', 'stream'].sort().join(' | ');
await check('writer lists all, by pages', all, () => listAll(writer, {}));
await check('writer lists by prefix and delimiter', 'a b/2 | a b/3=4~(5) | a b/ü +&?#%é.txt', () =>
  listAll(writer, { Prefix: 'a b/', Delimiter: '/' }),
);
await check('writer lists common prefixes', 'a b/ | c/ | new | quote\'"<>&.txt | stream | sum', () =>
  listAll(writer, { Delimiter: '/' }),
);
await check('writer sees the bucket', 'ok', () => writer.send(new HeadBucketCommand({ Bucket })));
const large = randomBytes(12 << 20);
await check('writer uploads in parts', 'ok', () => upload(writer, 'parts é', Readable.from([large])));
await check('If-None-Match on an upload in parts', '412 PreconditionFailed', () =>
  upload(writer, 'parts é', Readable.from([large]), { IfNoneMatch: '*' }),
);
await check('writer aborts an upload', '0', async () => {
  const broken = Readable.from(
    (async function* () {
      yield large;
      throw new Error('broken');
    })(),
  );
  await upload(writer, 'aborted', broken).catch(() => undefined);
  const { Uploads } = await admin.send(new ListMultipartUploadsCommand({ Bucket, Prefix: below }));
  return String(Uploads?.length ?? 0);
});
const first = { Bucket, Key: below + keys[0]! };
await check('writer reads', '403 AccessDenied', () => writer.send(new GetObjectCommand(first)));
await check('writer heads', '403 Unknown', () => writer.send(new HeadObjectCommand(first)));
await check('writer deletes', '403 AccessDenied', () => writer.send(new DeleteObjectCommand(first)));
await check('writer copies', '403 AccessDenied', () =>
  writer.send(new CopyObjectCommand({ Bucket, Key: `${below}copy`, CopySource: `${Bucket}/${below}new` })),
);
await check('writer lists versions', '403 AccessDenied', () =>
  writer.send(new ListObjectVersionsCommand({ Bucket })),
);
await check("writer lists the other app's bucket", '403 AccessDenied', () =>
  writer.send(new ListObjectsV2Command({ Bucket: buckets.chitram })),
);
await check('a wrong secret', '403 SignatureDoesNotMatch', () => {
  const credentials = { ...aws.users['backup-writer']!, secretAccessKey: 'wrong' };
  return put(
    new S3Client({ endpoint: aws.url, region, forcePathStyle: true, maxAttempts: 1, credentials }),
    'x',
  );
});
await check('an unknown key', '403 InvalidAccessKeyId', () => {
  const credentials = { accessKeyId: 'AKIANOBODY', secretAccessKey: 'wrong' };
  return put(
    new S3Client({ endpoint: aws.url, region, forcePathStyle: true, maxAttempts: 1, credentials }),
    'x',
  );
});
await check('no signature at all', '403', async () =>
  String((await fetch(`${aws.url}/${Bucket}/${below}new`)).status),
);
const readBack = async (Key: string, expected: Buffer): Promise<string> => {
  const { Body } = await reader.send(new GetObjectCommand({ Bucket, Key: below + Key }));
  return expected.equals(Buffer.from(await Body!.transformToByteArray())) ? 'equal' : 'different';
};
for (const key of [...keys, 'stream'])
  await check(`reader reads ${key}`, 'equal', () => readBack(key, content));
await check('reader reads the parts', 'equal', () => readBack('parts é', large));
await check('reader reads a range', '5', async () => {
  const { Body } = await reader.send(new GetObjectCommand({ ...first, Range: 'bytes=10-14' }));
  return String((await Body!.transformToByteArray()).length);
});
await check('reader puts', '403 AccessDenied', () => put(reader, 'x'));
await check('reader reads what is not there', '404 NoSuchKey', () =>
  reader.send(new GetObjectCommand({ Bucket, Key: `${below}nothing` })),
);
await check('admin copies', 'ok', () =>
  admin.send(
    new CopyObjectCommand({
      Bucket,
      Key: `${below}cöpy 1`,
      CopySource: encodeURI(`${Bucket}/${below}parts é`),
    }),
  ),
);
await check('the copy is equal', 'equal', () => readBack('cöpy 1', large));
await check('pruner reads', '403 AccessDenied', () => pruner.send(new GetObjectCommand(first)));
await check('pruner deletes', 'ok', () => pruner.send(new DeleteObjectCommand(first)));
const Objects = (await admin.send(new ListObjectsV2Command({ Bucket, Prefix: below }))).Contents!.map(
  ({ Key }) => ({
    Key,
  }),
);
await check('writer deletes many', `${Objects.length} refused`, async () => {
  const { Errors } = await writer.send(new DeleteObjectsCommand({ Bucket, Delete: { Objects } }));
  return `${Errors?.length ?? 0} refused`;
});
await check('pruner deletes many', `${Objects.length} deleted`, async () => {
  const { Deleted } = await pruner.send(new DeleteObjectsCommand({ Bucket, Delete: { Objects } }));
  return `${Deleted?.length ?? 0} deleted`;
});
await check('nothing is left', '', () => listAll(reader, {}));
finish();
