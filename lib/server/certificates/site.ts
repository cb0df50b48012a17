import { type Compose, compose } from '../../compose.ts';
import type { Host } from '../../host.ts';
import type { CertificateSettings } from './settings.ts';

/** What all that is done with an app's certificates works on. */
export interface Site {
  host: Host;
  app: Compose;
  settings: CertificateSettings;
  signal: AbortSignal;
  now: Date;
}

interface Where {
  host: Host;
  settings: CertificateSettings & { APP_DIR: string };
  signal: AbortSignal;
}

export function siteOf({ host, settings, signal }: Where): Site {
  return { host, app: compose(host, settings.APP_DIR, settings), settings, signal, now: new Date() };
}

/** What the certificate of an app is called: its first name. */
export const certificateName = ({ DOMAIN: [name = ''] }: Pick<CertificateSettings, 'DOMAIN'>): string => name;
