import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { connect } from 'node:tls';
import { count } from '../format.ts';

/** A certificate, in a file or as it is served. */
export interface Certificate {
  /** The names that it is for, sorted. */
  names: string[];
  issuer: string;
  from: Date;
  until: Date;
  /** SHA-256 of the whole, as `AB:CD:…`. */
  fingerprint: string;
  /** How many certificates came with it, itself included. */
  length: number;
}

/** What is wrong, and what to do about it. */
export interface Problem {
  found: string;
  todo: string;
}

/** Less than this part of a certificate's lifetime left, and its renewal is late: certbot renews at a third. */
const LATE = 0.25;

const DAY_MS = 86_400_000;

/**
 * The first certificate of a PEM file, which is the one that the others vouch for.
 * @throws Error when there is none in it
 */
export function parseChain(pem: string): Certificate {
  const [leaf, ...rest] = pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  if (!leaf) throw new Error('holds no certificate');
  return describe(new X509Certificate(leaf), 1 + rest.length);
}

function describe(certificate: X509Certificate, length: number): Certificate {
  const names = (certificate.subjectAltName ?? '').split(', ').filter((name) => name.startsWith('DNS:'));
  return {
    names: names.map((name) => name.slice('DNS:'.length)).sort(),
    issuer: /^(?:CN|O)=(.+)$/m.exec(certificate.issuer)?.[1] ?? certificate.issuer,
    from: certificate.validFromDate,
    until: certificate.validToDate,
    fingerprint: certificate.fingerprint256,
    length,
  };
}

type Lifetime = Pick<Certificate, 'from' | 'until'>;

/** Whether it should have been renewed by now: 20 days left are late for a certificate of 90 days, not for one of 45. */
export const isLate = ({ from, until }: Lifetime, now: Date): boolean =>
  (until.getTime() - now.getTime()) / (until.getTime() - from.getTime()) < LATE;

/** `61 days left`, `expired 3 days ago`. */
export function describeRemaining({ until }: Pick<Certificate, 'until'>, now: Date): string {
  const hours = Math.floor((until.getTime() - now.getTime()) / 3_600_000);
  const amount = (n: number) => (n < 48 ? `${n} hours` : `${Math.floor(n / 24)} days`);
  return hours >= 0 ? `${amount(hours)} left` : `expired ${amount(-hours)} ago`;
}

/** `61 days left of 90 days`. */
export function describeLifetime({ from, until }: Lifetime, now: Date): string {
  const days = Math.round((until.getTime() - from.getTime()) / DAY_MS);
  return `${describeRemaining({ until }, now)} of ${count(days, 'day')}`;
}

/** Whether two lists have the same names, in whatever order. */
export const sameNames = (a: readonly string[], b: readonly string[]): boolean =>
  [...new Set(a)].sort().join() === [...new Set(b)].sort().join();

/** What a browser gets: a certificate and what is wrong with it, or no connection. */
export type Served =
  | { certificate: Certificate; problem?: Problem }
  | { certificate?: undefined; problem: Problem };

const TIMEOUT_MS = 10_000;

/** Connects to port 443 as a browser does; trusts what this machine's Node trusts. */
export async function served(name: string, signal: AbortSignal): Promise<Served> {
  const socket = connect({ host: name, servername: name, port: 443, rejectUnauthorized: false });
  socket.setTimeout(TIMEOUT_MS, () => socket.destroy(new Error(`no answer within ${TIMEOUT_MS / 1000} s`)));
  try {
    await once(socket, 'secureConnect', { signal });
    const leaf = socket.getPeerX509Certificate();
    if (!leaf) throw new Error('no certificate');
    const certificate = describe(leaf, 1);
    const distrusted = socket.authorizationError as unknown as string | undefined;
    return { certificate, ...(distrusted ? { problem: distrust(distrusted, certificate) } : {}) };
  } catch (error) {
    signal.throwIfAborted();
    return { problem: noConnection(error as NodeJS.ErrnoException) };
  } finally {
    socket.destroy();
  }
}

function noConnection({ code, message }: NodeJS.ErrnoException): Problem {
  if (code === 'ENOTFOUND') return { found: 'does not resolve', todo: 'make a record for it in DNS' };
  const found = code === 'ECONNREFUSED' ? 'nothing listens on port 443' : `port 443: ${message}`;
  return { found, todo: 'start the proxy, and let it listen on port 443 with the certificate' };
}

function distrust(code: string, { names, issuer, until }: Certificate): Problem {
  switch (code) {
    case 'CERT_HAS_EXPIRED':
      return { found: `it expired on ${until.toISOString().slice(0, 10)}`, todo: 'run renew-certificates' };
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
