import { appendFileSync } from 'node:fs';
import { createServer, request } from 'node:http';
import type { AddressInfo } from 'node:net';

/**
 * `s3-witness.ts URL FILE [PART] [hang]`: a proxy in front of S3 that writes down each request, and which answers those
 * that store something with PART in the name with 500, or never. Prints its address.
 */
const [target = '', seen = '', part, how] = process.argv.slice(2);

const server = createServer((incoming, response) => {
  appendFileSync(seen, `${incoming.method} ${decodeURIComponent(incoming.url ?? '')}\n`);
  if (part && incoming.method === 'PUT' && incoming.url?.includes(part)) {
    if (how !== 'hang')
      response.writeHead(500).end('<Error><Code>InternalError</Code><Message>fault</Message></Error>');
    return;
  }
  // The signature is about the host that the client spoke to.
  const { method, url: path, headers } = incoming;
  const { hostname, port } = new URL(target);
  const outgoing = request({ hostname, port, method, path, headers }, (answer) => {
    response.writeHead(answer.statusCode ?? 500, answer.headers);
    answer.pipe(response);
  });
  incoming.pipe(outgoing);
});
server.listen(0, '127.0.0.1', () =>
  process.stdout.write(`http://127.0.0.1:${(server.address() as AddressInfo).port}\n`),
);
