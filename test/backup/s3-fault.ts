import { createServer, request } from 'node:http';

/**
 * Stands between a script and the store, and does to PUTs what its mode says; everything else passes. Not a store:
 * the real one behind it answers. Prints its URL when it listens.
 *
 * tsx s3-fault.ts MODE, MODE being one of
 *   500, 503            answer so to every PUT of the mode's part of keys
 *   cut:BYTES           end the connection after so many bytes of one body
 *   hang                take the request and never answer
 *   slow:BYTES          pass so many bytes a second
 *   pass
 */
const [mode = 'pass', only = ''] = process.argv.slice(2);
const upstream = new URL(process.env['AWS_ENDPOINT_URL'] ?? '');
const [kind, amount = '0'] = mode.split(':');

const server = createServer((incoming, answer) => {
  const hit = incoming.method === 'PUT' && (incoming.url ?? '').includes(only);
  if (hit && (kind === '500' || kind === '503')) {
    incoming.resume();
    const code = kind === '500' ? 'InternalError' : 'SlowDown';
    answer.writeHead(Number(kind), { 'content-type': 'application/xml' });
    answer.end(`<?xml version="1.0"?><Error><Code>${code}</Code><Message>as asked for</Message></Error>`);
    return;
  }
  if (hit && kind === 'hang') {
    incoming.resume();
    return;
  }
  const { hostname, port } = upstream;
  const { method, url, headers } = incoming;
  const outgoing = request({ hostname, port, method, path: url, headers }, (response) => {
    answer.writeHead(response.statusCode ?? 502, response.headers);
    response.pipe(answer);
  });
  outgoing.on('error', () => answer.destroy());
  let seen = 0;
  incoming.on('data', (chunk: Buffer) => {
    seen += chunk.length;
    if (hit && kind === 'cut' && seen >= Number(amount)) {
      incoming.socket.destroy();
      outgoing.destroy();
      return;
    }
    outgoing.write(chunk);
    if (hit && kind === 'slow') {
      incoming.pause();
      setTimeout(() => incoming.resume(), (chunk.length / Number(amount)) * 1000);
    }
  });
  incoming.on('end', () => outgoing.end());
});

server.listen(0, '127.0.0.1', () => {
  const { port } = server.address() as { port: number };
  process.stdout.write(`http://127.0.0.1:${port}\n`);
});
