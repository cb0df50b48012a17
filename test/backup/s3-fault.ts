import { appendFileSync } from 'node:fs';
import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http';

/**
 * Stands between a script and the store, and does to some requests what its mode says; everything else passes. Not
 * a store: the real one behind it answers. Prints its URL when it listens.
 *
 * tsx s3-fault.ts MODE [PART [METHOD]]: to PUTs, or requests of another method, whose URL has PART in it. MODE is
 *   301, 500, 503       answer so
 *   500-once            answer so to the first one
 *   cut:BYTES           end the connection after so many bytes of a body
 *   cut-once:BYTES      end the first one
 *   hang                take the request and never answer
 *   slow:BYTES          pass so many bytes a second
 *   pass
 * Each such request is a line in the file that FAULT_LOG names.
 */
const [mode = 'pass', only = '', method = 'PUT'] = process.argv.slice(2);
const upstream = new URL(process.env.AWS_ENDPOINT_URL ?? '');
const [named = '', amount = '0'] = mode.split(':');
const [kind = '', once] = named.split('-');
const CODES: Record<string, string> = { 301: 'PermanentRedirect', 500: 'InternalError', 503: 'SlowDown' };
let hits = 0;

function isHit(incoming: IncomingMessage): boolean {
  if (incoming.method !== method || !incoming.url?.includes(only)) return false;
  hits += 1;
  if (process.env.FAULT_LOG) appendFileSync(process.env.FAULT_LOG, `${incoming.url}\n`);
  return once === undefined || hits === 1;
}

function refuse(answer: ServerResponse, code: string): void {
  answer.writeHead(Number(kind), { 'content-type': 'application/xml' });
  answer.end(`<?xml version="1.0"?><Error><Code>${code}</Code><Message>as asked for</Message></Error>`);
}

/** Passes a request on, cut or slowed down where that is asked for. */
function pass(incoming: IncomingMessage, answer: ServerResponse, hit: boolean): void {
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
}

const server = createServer((incoming, answer) => {
  const hit = isHit(incoming);
  const code = CODES[kind];
  if (hit && (code || kind === 'hang')) incoming.resume();
  if (hit && code) refuse(answer, code);
  else if (!hit || kind !== 'hang') pass(incoming, answer, hit);
});

server.listen(0, '127.0.0.1', () => {
  const { port } = server.address() as { port: number };
  process.stdout.write(`http://127.0.0.1:${port}\n`);
});
