/**
 * A store that is not the limit: it speaks as much of S3's protocol as an upload and a listing take, counts bodies and
 * drops them. It checks neither signatures nor checksums. Started by start.ts; prints its port.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { text } from 'node:stream/consumers';
import { completed, created, listing, startOf } from './answers.ts';
import { Objects } from './objects.ts';

const buckets = new Map<string, Objects>();
/** Bytes of the parts of each upload that is under way. */
const uploads = new Map<string, number>();
let lastUpload = 0;

function bucketOf(name: string): Objects {
  const objects = buckets.get(name) ?? new Objects();
  buckets.set(name, objects);
  return objects;
}

/** The length of what was sent, without aws-chunked's framing. */
function lengthOf(request: IncomingMessage): Promise<number> {
  const declared = Number(request.headers['x-amz-decoded-content-length'] ?? Number.NaN);
  let counted = 0;
  return new Promise((resolve, reject) => {
    request.on('data', (chunk: Buffer) => {
      counted += chunk.length;
    });
    request.on('end', () => resolve(Number.isNaN(declared) ? counted : declared));
    request.on('error', reject);
  });
}

interface Asked {
  request: IncomingMessage;
  bucket: string;
  key: string;
  query: URLSearchParams;
}

async function put({ request, bucket, key, query }: Asked): Promise<string> {
  const size = await lengthOf(request);
  const upload = query.get('uploadId');
  if (upload === null) bucketOf(bucket).put(key, size);
  else uploads.set(upload, (uploads.get(upload) ?? 0) + size);
  return '';
}

async function post({ request, bucket, key, query }: Asked): Promise<string> {
  const body = await text(request);
  if (query.has('populate')) {
    const objects = bucketOf(bucket);
    for (const [name, size] of JSON.parse(body) as Array<[string, number]>) objects.put(name, size);
    return '';
  }
  if (query.has('uploads')) {
    lastUpload += 1;
    return created(bucket, key, String(lastUpload));
  }
  const upload = query.get('uploadId') ?? '';
  bucketOf(bucket).put(key, uploads.get(upload) ?? 0);
  uploads.delete(upload);
  return completed(bucket, key);
}

async function remove({ query, bucket }: Asked): Promise<string> {
  const upload = query.get('uploadId');
  if (upload === null) buckets.delete(bucket);
  else uploads.delete(upload);
  return '';
}

async function get({ bucket, query }: Asked): Promise<string> {
  const most = Math.min(1000, Number(query.get('max-keys') ?? 1000));
  return listing(bucket, query, bucketOf(bucket).page(query.get('prefix') ?? '', startOf(query), most));
}

const methods: Record<string, (asked: Asked) => Promise<string>> = {
  PUT: put,
  POST: post,
  GET: get,
  DELETE: remove,
};

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const [path = '', search = ''] = (request.url ?? '').split('?', 2);
  const [, bucket = '', ...rest] = path.split('/');
  const asked: Asked = {
    ...{ request, bucket, query: new URLSearchParams(search) },
    key: decodeURIComponent(rest.join('/')),
  };
  const method = methods[request.method ?? ''];
  const body = method ? await method(asked) : '';
  response.writeHead(method ? 200 : 501, { etag: '"0"', 'content-type': 'application/xml' }).end(body);
}

const server = createServer((request, response) => {
  answer(request, response).catch((error: Error) => response.writeHead(500).end(error.message));
});
server.keepAliveTimeout = 60_000;
server.listen(0, '127.0.0.1', () => {
  const address = server.address();
  process.stdout.write(`${typeof address === 'object' && address ? address.port : 0}\n`);
});
// It ends with whoever started it.
process.stdin.on('end', () => process.exit()).resume();
