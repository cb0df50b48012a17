import {
  CopyObjectCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  PutObjectCommand,
} from '@aws-sdk/client-s3';
import { s3Client } from '../../lib/aws.ts';

/**
 * Changes an object in the tests' store behind its back, with the caller's credentials; what it was is kept aside.
 *
 * node tamper.ts KEY HOW, HOW being one of
 *   flip            another byte in the middle
 *   head            another byte in what age's header says of the recipient
 *   cut             only the first half
 *   stub            20 bytes of something else
 *   remove          nothing
 *   mend            what it was before
 *   text:TEXT       this text
 *   edit:CODE       a JSON document, after CODE has changed `it`
 */
const [key = '', how = ''] = process.argv.slice(2);
const client = await s3Client({ region: process.env['AWS_REGION'] });
const Bucket = 'bloaty-backups-x7';

function changed(bytes: Buffer): Uint8Array {
  const middle = bytes.length >> 1;
  if (how === 'flip') bytes[middle] = (bytes[middle] ?? 0) ^ 0xff;
  if (how === 'head') bytes[100] = (bytes[100] ?? 0) === 65 ? 66 : 65;
  if (how === 'cut') return bytes.subarray(0, middle);
  if (how === 'stub') return Buffer.from('not what was stored.');
  if (how.startsWith('text:')) return Buffer.from(how.slice('text:'.length));
  if (!how.startsWith('edit:')) return bytes;
  const it = JSON.parse(bytes.toString());
  new Function('it', how.slice(5))(it);
  return Buffer.from(JSON.stringify(it));
}

const copy = (from: string, to: string) =>
  client.send(
    new CopyObjectCommand({ Bucket, Key: to, CopySource: `${Bucket}/${encodeURIComponent(from)}` }),
  );

if (how === 'mend') {
  await copy(`saved/${key}`, key);
} else {
  await copy(key, `saved/${key}`);
  const { Body } = await client.send(new GetObjectCommand({ Bucket, Key: key }));
  const bytes = Buffer.from((await Body?.transformToByteArray()) ?? []);
  if (how === 'remove') await client.send(new DeleteObjectCommand({ Bucket, Key: key }));
  else await client.send(new PutObjectCommand({ Bucket, Key: key, Body: changed(bytes) }));
}
