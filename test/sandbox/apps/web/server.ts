import { createServer, type IncomingMessage } from 'node:http';
import { addEntries, close, listEntries, listUploads, migrate, ping, recordUpload } from './database.ts';
import { redis } from './redis.ts';
import { uploads } from './uploads.ts';

const redisUrl = process.env.REDIS_URL ?? 'redis://redis:6379';

interface Reply {
  status: number;
  body: unknown;
}
const ok = (body: unknown): Reply => ({ status: 200, body });

async function read(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk);
  return Buffer.concat(chunks);
}

async function health(): Promise<Reply> {
  try {
    await Promise.all([ping(), redis(redisUrl, 'PING')]);
    return ok({ status: 'healthy' });
  } catch (error) {
    return { status: 503, body: { status: 'unhealthy', error: (error as Error).message } };
  }
}

async function postEntries(request: IncomingMessage): Promise<Reply> {
  const given = JSON.parse((await read(request)).toString());
  const ids = await addEntries(Array.isArray(given) ? given : [given]);
  await redis(redisUrl, 'INCRBY', 'entries', String(ids.length));
  return { status: 201, body: { ids } };
}

async function upload(name: string, request: IncomingMessage): Promise<Reply> {
  if (request.method === 'GET') {
    const content = await uploads.get(name);
    return content ? ok(content) : { status: 404, body: { error: `no upload ${name}` } };
  }
  const content = await read(request);
  await uploads.put(name, content, request.headers['content-type'] ?? 'application/octet-stream');
  await recordUpload(name, content);
  await redis(redisUrl, 'INCR', 'uploads');
  return { status: 201, body: { name, bytes: content.length } };
}

async function answer(request: IncomingMessage): Promise<Reply> {
  const { pathname, searchParams } = new URL(request.url ?? '/', 'http://app');
  const route = `${request.method} ${pathname}`;
  if (route === 'GET /health') return health();
  if (route === 'GET /api/version') return ok({ version: process.env.APP_VERSION ?? 'unknown' });
  if (route === 'GET /entries') return ok(await listEntries(searchParams));
  if (route === 'POST /entries') return postEntries(request);
  if (route === 'GET /uploads') return ok(await listUploads());
  const name = /^(?:GET|POST) \/uploads\/(.+)$/.exec(route)?.[1];
  if (name) return upload(decodeURIComponent(name), request);
  return { status: 404, body: { error: `no such page: ${route}` } };
}

const server = createServer(async (request, response) => {
  const { status, body } = await answer(request).catch(
    (error: Error): Reply => ({ status: 500, body: { error: error.message } }),
  );
  const binary = Buffer.isBuffer(body);
  response.writeHead(status, { 'content-type': binary ? 'application/octet-stream' : 'application/json' });
  response.end(binary ? body : `${JSON.stringify(body)}\n`);
});

process.once('SIGTERM', () => {
  server.close(() => void close());
  server.closeIdleConnections();
});
await migrate();
await uploads.prepare();
server.listen(8000, () => console.log(`version ${process.env.APP_VERSION} listens on 8000`));
