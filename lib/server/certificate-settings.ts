import { composeSettings, targetSettings } from '../app.ts';
import { list, optionalSetting, setting, type Values } from '../settings.ts';

const NAME = /^(?=.{4,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]$/;

function parseDomain(raw: string): string {
  const name = raw.toLowerCase();
  if (name.startsWith('*.'))
    throw new Error(
      'a wildcard needs the DNS challenge; HTTP challenges cover single names only, such as www.',
    );
  if (!NAME.test(name)) throw new Error(`"${raw}" is not the name of a host`);
  return name;
}

/** What the certificate of an app is for, and how it is served. */
export const certificateSettings = {
  ...targetSettings,
  ...composeSettings,
  DOMAIN: setting('DOMAIN', {
    about: "the app's name in DNS, and further ones separated by commas; the first one names the certificate",
    example: 'bloaty-app.com,www.bloaty-app.com',
    type: (z) => list(parseDomain)(z).refine((names) => names.length > 0, 'names no domain'),
  }),
  ACME_WEBROOT: setting('ACME_WEBROOT', {
    about: "the directory on the host from which the proxy answers the certificate authority's challenges",
    example: '/var/www/certbot',
    default: '/var/www/certbot',
    type: (z) => z.string().regex(/^\/.*[^/]$/, 'must be an absolute path without a slash at its end'),
  }),
  PROXY_SERVICE: setting('PROXY_SERVICE', {
    about: 'the compose service that serves the certificate: an nginx, or a caddy, which gets its own',
    example: 'nginx',
    default: 'nginx',
    type: (z) => z.string(),
  }),
};

/** What a first certificate takes beside that. */
export const acmeSettings = {
  ACME_EMAIL: setting('ACME_EMAIL', {
    about: 'the e-mail address of the account with the certificate authority',
    example: 'ops@bloaty-app.com',
    type: (z) => z.email('is not an e-mail address'),
  }),
  ACME_SERVER: optionalSetting('ACME_SERVER', {
    about: "the directory of a certificate authority other than Let's Encrypt's, such as its staging",
    example: 'https://acme-staging-v02.api.letsencrypt.org/directory',
    type: (z) => z.url({ protocol: /^https$/, error: 'is not an https URL' }),
  }),
};

export type CertificateSettings = Values<typeof certificateSettings>;
export type AcmeSettings = Values<typeof acmeSettings>;
