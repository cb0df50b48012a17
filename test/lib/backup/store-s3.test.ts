import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type TestContext, test } from 'node:test';
import { S3Client } from '@aws-sdk/client-s3';
import { download } from '../../../lib/backup/store-s3.ts';

const OBJECT = Buffer.from(Array.from({ length: 3_000_000 }, (_, i) => i % 251));

/** Answers as S3 does, and ends each connection after so many bytes of the body, as often as there are numbers. */
async function breaking(t: TestContext, pauseMs: number, ...after: number[]) {
  const asked: string[] = [];
  const server = createServer((request: IncomingMessage, response: ServerResponse) => {
    const range = request.headers.range ?? '';
    asked.push(range);
    const rest = OBJECT.subarray(Number(/^bytes=(\d+)-$/.exec(range)?.[1] ?? 0));
    const headers = { ETag: '"one"', 'Content-Length': rest.length };
    if (range && request.headers['if-match'] !== '"one"') return response.writeHead(412).end();
    response.writeHead(range ? 206 : 200, headers);
    const cut = after.shift();
    if (cut === undefined) return response.end(rest);
    response.write(rest.subarray(0, cut), () => response.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  const client = new S3Client({
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    region: 'eu-north-1',
    credentials: { accessKeyId: 'a', secretAccessKey: 'b' },
    forcePathStyle: true,
  });
  const signal = new AbortController();
  const flow = await download(client, { Bucket: 'b', Key: 'k' }, signal.signal, pauseMs);
  return { asked, flow, signal };
}

test('what breaks off is asked for from where it was, and comes whole', async (t) => {
  const { asked, flow } = await breaking(t, 1, 1_000_000, 500_000);
  const bytes = Buffer.concat(await Array.fromAsync(flow));
  assert.ok(bytes.equals(OBJECT));
  assert.equal(asked.length, 3);
  assert.deepEqual([asked[0], asked.every((range) => !range || /^bytes=\d+-$/.test(range))], ['', true]);
});

test('an interruption between two breaks ends it at once', async (t) => {
  const { flow, signal } = await breaking(t, 60_000, 10);
  setTimeout(() => signal.abort(new Error('interrupted')), 50);
  await assert.rejects(Array.fromAsync(flow), /interrupted/);
});

test('a connection that ends again and again after next to nothing fails it', async (t) => {
  const { asked, flow } = await breaking(t, 1, ...Array<number>(9).fill(10));
  await assert.rejects(Array.fromAsync(flow), { code: 'ECONNRESET' });
  assert.equal(asked.length, 6);
});
