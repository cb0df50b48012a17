import { Failure } from '../../failure.ts';
import { LETS_ENCRYPT } from './certbot.ts';
import { describeRemaining, isLate, sameNames } from './certificate.ts';
import { fullchain, LETSENCRYPT, type Lineage, renewalFile } from './lineage.ts';
import type { AcmeSettings, CertificateSettings } from './settings.ts';

/** What is to be done for a certificate to be there, and to be renewed by webroot. */
export type Plan =
  | { kind: 'keep' }
  | { kind: 'reconfigure'; because: string }
  | { kind: 'issue'; because: string; force: boolean };

type Wanted = Pick<CertificateSettings, 'DOMAIN' | 'ACME_WEBROOT'> & Pick<AcmeSettings, 'ACME_SERVER'>;

/** @throws Failure when there is a certificate in its place that certbot knows nothing of, and would trip over */
export function planIssue(lineage: Lineage | undefined, wanted: Wanted, now: Date): Plan {
  const { certificate, renewal } = lineage ?? {};
  if (lineage && !renewal) throw foreign(lineage.name);
  if (!certificate || !renewal) return { kind: 'issue', because: 'there is none', force: false };
  const issue = (because: string, force = false): Plan => ({ kind: 'issue', because, force });
  if (!sameNames(certificate.names, wanted.DOMAIN)) return issue(`it is for ${certificate.names.join(', ')}`);
  if (renewal.server !== (wanted.ACME_SERVER ?? LETS_ENCRYPT))
    return issue(`it is from ${renewal.server}`, true);
  if (isLate(certificate, now)) return issue(describeRemaining(certificate, now));
  const wrong = wrongRenewal(renewal, wanted.ACME_WEBROOT);
  return wrong ? { kind: 'reconfigure', because: wrong } : { kind: 'keep' };
}

/** What is wrong with the way of renewal, if anything. */
export function wrongRenewal(
  { authenticator, webroots }: NonNullable<Lineage['renewal']>,
  webroot: string,
): string | undefined {
  if (authenticator !== 'webroot') return `it is renewed by ${authenticator || 'no authenticator'}`;
  const others = webroots.filter((path) => path !== webroot);
  if (webroots.length > 0 && others.length === 0) return undefined;
  return `it is renewed in ${others.join(', ') || 'no directory'}, not in ${webroot}`;
}

function foreign(name: string): Failure {
  const live = `${LETSENCRYPT}/live/${name}`;
  return new Failure(`${fullchain(name)} is not certbot's: there is no ${renewalFile(name)}`, {
    next: `move it out of certbot's way (a running nginx does not mind): mv ${live} ${LETSENCRYPT}/${name}.before`,
  });
}
