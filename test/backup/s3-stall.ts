import { createServer, request } from 'node:http';

/**
 * Stands between a script and the store, and passes only the first bytes of some bodies that are read. Prints its
 * URL when it listens.
 *
 * tsx s3-stall.ts HOW:BYTES PART: of GETs whose URL has PART in it; HOW is `stall`, nothing more comes, `cut`, the
 * connection is ended, or `cut-once`, that of the first such GET is.
 */
const [how = '', part = ''] = process.argv.slice(2);
const [kind = '', bytes] = how.split(':');
let left = kind.endsWith('-once') ? 1 : Number.POSITIVE_INFINITY;
const upstream = new URL(process.env['AWS_ENDPOINT_URL'] ?? '');

const server = createServer((incoming, answer) => {
  const { method, url = '', headers } = incoming;
  const { hostname, port } = upstream;
  const outgoing = request({ hostname, port, method, path: url, headers }, (response) => {
    answer.writeHead(response.statusCode ?? 502, response.headers);
    if (method !== 'GET' || !url.includes(part) || left === 0) {
      response.pipe(answer);
      return;
    }
    left -= 1;
    response.once('readable', () => {
      answer.write(response.read(Math.min(Number(bytes), response.readableLength)));
      if (kind.startsWith('cut')) setImmediate(() => answer.destroy());
    });
  });
  outgoing.on('error', () => answer.destroy());
  incoming.pipe(outgoing);
});

server.listen(0, '127.0.0.1', () => {
  const { port } = server.address() as { port: number };
  process.stdout.write(`http://127.0.0.1:${port}\n`);
});
