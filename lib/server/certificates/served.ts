import { setTimeout as sleep } from 'node:timers/promises';
import { connect } from 'node:tls';
import { type Certificate, describe } from './certificate.ts';

const TIMEOUT_MS = 10_000;
/** A reload returns before the workers with the new certificate have taken over; a port that is closed stays so. */
const TAKES_OVER_MS = 10_000;
const OPENS_MS = 3000;

/** What a browser gets: a certificate and what is wrong with it, or no connection. */
export interface Served {
  certificate?: Certificate;
  problem?: { found: string; todo: string };
}

/** Connects as a browser does; trusts what this machine's Node trusts. */
export function served(name: string, signal: AbortSignal): Promise<Served> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: name, servername: name, port: 443, rejectUnauthorized: false });
    const interrupted = () => socket.destroy(signal.reason);
    signal.addEventListener('abort', interrupted, { once: true });
    socket.once('close', () => signal.removeEventListener('abort', interrupted));
    socket.setTimeout(TIMEOUT_MS, () => socket.destroy(new Error(`no answer within ${TIMEOUT_MS / 1000} s`)));
    socket.once('error', (error: NodeJS.ErrnoException) => {
      if (signal.aborted) reject(signal.reason);
      else resolve({ problem: noConnection(error) });
    });
    socket.once('secureConnect', () => {
      const leaf = socket.getPeerX509Certificate();
      const error = socket.authorizationError as unknown as string | undefined;
      socket.end();
      if (!leaf) return resolve({ problem: noConnection(new Error('no certificate')) });
      const certificate = describe(leaf, 1);
      resolve({ certificate, ...(error ? { problem: distrust(error, certificate) } : {}) });
    });
  });
}

function noConnection({ code, message }: NodeJS.ErrnoException): NonNullable<Served['problem']> {
  if (code === 'ENOTFOUND') return { found: 'does not resolve', todo: 'make a record for it in DNS' };
  const found = code === 'ECONNREFUSED' ? 'nothing listens on port 443' : `port 443: ${message}`;
  return { found, todo: 'start the proxy, and let it listen on port 443 with the certificate' };
}

function distrust(code: string, { names, issuer, until }: Certificate): NonNullable<Served['problem']> {
  const day = until.toISOString().slice(0, 10);
  switch (code) {
    case 'CERT_HAS_EXPIRED':
      return { found: `it expired on ${day}`, todo: 'run renew-certificates' };
    case 'ERR_TLS_CERT_ALTNAME_INVALID':
      return {
        found: `it is for ${names.join(', ')}`,
        todo: 'correct DOMAIN and run issue-certificate, or let the proxy serve the other one',
      };
    case 'UNABLE_TO_VERIFY_LEAF_SIGNATURE':
      return { found: 'its chain is incomplete', todo: 'let the proxy serve fullchain.pem, not cert.pem' };
    case 'DEPTH_ZERO_SELF_SIGNED_CERT':
      return { found: 'it is self-signed', todo: 'run issue-certificate' };
    default:
      return {
        found: `its issuer, ${issuer}, is not trusted here (${code})`,
        todo: 'if it is of a staging server, unset ACME_SERVER and run issue-certificate',
      };
  }
}

/** Waits until `name` is served with this certificate; resolves to what is served in the end. */
export async function awaitServed(
  name: string,
  { fingerprint }: Certificate,
  signal: AbortSignal,
): Promise<Served> {
  const started = Date.now();
  for (;;) {
    const now = await served(name, signal);
    const patience = now.certificate ? TAKES_OVER_MS : OPENS_MS;
    if (now.certificate?.fingerprint === fingerprint || Date.now() - started > patience) return now;
    await sleep(100, undefined, { signal });
  }
}
