import { readFileSync, writeFileSync } from 'node:fs';
import { createServer, request } from 'node:https';

/**
 * What pebble cannot be made to do: passes all on to it but new orders. Those it refuses as Let's Encrypt does when
 * its limits are reached (`limited`), or never answers (`silent`).
 */
const [file = '', mode = ''] = process.argv.slice(2);
const pem = readFileSync(file);
const EXACT_SET =
  'too many certificates (5) already issued for this exact set of identifiers in the last 168h0m0s, retry after ' +
  '2026-11-22 10:00:00 UTC: see https://letsencrypt.org/docs/rate-limits/#new-certificates-per-exact-set-of-identifiers';

createServer({ key: pem, cert: pem }, (incoming, outgoing) => {
  if (incoming.url === '/order-plz') {
    writeFileSync('/run/acme-front.asked', mode);
    if (mode === 'silent') return;
    const problem = { type: 'urn:ietf:params:acme:error:rateLimited', detail: EXACT_SET, status: 429 };
    outgoing.writeHead(429, { 'content-type': 'application/problem+json', 'replay-nonce': 'bm9uY2U' });
    outgoing.end(JSON.stringify(problem));
    return;
  }
  const { method, url, headers } = incoming;
  // The host's name is passed on: pebble makes its addresses of it, and they are to lead here.
  const passed = request(
    { host: 'pebble.sandbox', port: 14000, method, path: url, headers, servername: 'pebble.sandbox' },
    (answer) => {
      outgoing.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(outgoing);
    },
  );
  incoming.pipe(passed);
}).listen(14443);
