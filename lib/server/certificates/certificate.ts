import { X509Certificate } from 'node:crypto';

/** What is said of a certificate, be it in a file or served. */
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

/** Less than this part of a certificate's lifetime left, and its renewal is late: certbot renews at a third. */
const LATE = 0.25;

/**
 * The certificates of a PEM file, of which the first is meant.
 * @throws Error when there is none in it
 */
export function parseChain(pem: string): Certificate {
  const [leaf, ...rest] = pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  if (!leaf) throw new Error('holds no certificate');
  return describe(new X509Certificate(leaf), 1 + rest.length);
}

export function describe(certificate: X509Certificate, length: number): Certificate {
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

/** The part of its lifetime that a certificate has left: 0.25 of 90 days and of 45 days are different days. */
export function remaining({ from, until }: Pick<Certificate, 'from' | 'until'>, now: Date): number {
  return (until.getTime() - now.getTime()) / (until.getTime() - from.getTime());
}

/** Whether it should have been renewed by now. */
export const isLate = (certificate: Certificate, now: Date): boolean => remaining(certificate, now) < LATE;

/** `61 days left`, `expired 3 days ago`. */
export function describeRemaining({ until }: Pick<Certificate, 'until'>, now: Date): string {
  const hours = Math.floor((until.getTime() - now.getTime()) / 3_600_000);
  const amount = (n: number) => (n < 48 ? `${n} hours` : `${Math.floor(n / 24)} days`);
  return hours >= 0 ? `${amount(hours)} left` : `expired ${amount(-hours)} ago`;
}

export const sameNames = (a: readonly string[], b: readonly string[]): boolean =>
  [...new Set(a)].sort().join() === [...new Set(b)].sort().join();
