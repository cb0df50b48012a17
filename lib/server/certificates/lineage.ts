import type { Command } from '../../command.ts';
import { Failure } from '../../failure.ts';
import type { Host } from '../../host.ts';
import { type Certificate, parseChain } from './certificate.ts';

/** Where certbot keeps what it has; its own default. */
export const LETSENCRYPT = '/etc/letsencrypt';

export const fullchain = (name: string): string => `${LETSENCRYPT}/live/${name}/fullchain.pem`;
export const renewalFile = (name: string): string => `${LETSENCRYPT}/renewal/${name}.conf`;

/** How certbot will renew a certificate: what it saved, not what a cron entry's flags say. */
export interface Renewal {
  authenticator: string;
  webroots: string[];
  server: string;
}

/** What certbot calls a lineage: a certificate with the way of its renewal. */
export interface Lineage {
  name: string;
  renewal: Renewal | undefined;
  certificate: Certificate | undefined;
}

/** The settings in a `renewal/NAME.conf`: lines of `key = value`, a list with a comma at its end. */
export function parseRenewal(text: string): Renewal {
  const params = text.slice(text.indexOf('[renewalparams]'));
  const value = (key: string) => new RegExp(`^${key}\\s*=\\s*(.*?)\\s*$`, 'm').exec(params)?.[1] ?? '';
  const [, map = ''] = params.split('[[webroot_map]]');
  const mapped = [...map.matchAll(/^\S+\s*=\s*(\S.*?)\s*$/gm)].map(([, path = '']) => path);
  // certbot takes a name's own directory from the map, and the common one for those that are not in it.
  const webroots = mapped.length > 0 ? mapped : value('webroot_path').split(',');
  return {
    authenticator: value('authenticator'),
    webroots: [...new Set(webroots.map((path) => path.trim()).filter(Boolean))],
    server: value('server'),
  };
}

/** Prints every file that the patterns match, each behind a line with its path; what is not there is no error. */
const DUMP =
  'for pattern; do for file in $pattern; do if [ -e "$file" ]; then echo "==> $file"; cat "$file" || exit; fi; done; done';
const dump = (...patterns: string[]): Command => ({
  argv: ['sh', '-c', DUMP, 'dump', ...patterns],
  root: true,
});

/** All lineages of a host by name; read in one go, since over ssh and SSM each command costs. */
export async function readLineages(host: Host): Promise<Map<string, Lineage>> {
  const text = await host.run(dump(renewalFile('*'), fullchain('*')));
  const lineages = new Map<string, Lineage>();
  for (const section of text.split(/^==> /m).slice(1)) {
    const path = section.slice(0, section.indexOf('\n'));
    const content = section.slice(path.length);
    const [, name = ''] =
      /\/renewal\/(.+)\.conf$/.exec(path) ?? /\/live\/(.+)\/fullchain\.pem$/.exec(path) ?? [];
    const lineage = lineages.get(name) ?? { name, renewal: undefined, certificate: undefined };
    if (path.endsWith('.conf')) lineage.renewal = parseRenewal(content);
    else lineage.certificate = parseFile(path, content);
    lineages.set(name, lineage);
  }
  return lineages;
}

function parseFile(path: string, content: string): Certificate {
  try {
    return parseChain(content);
  } catch (error) {
    throw new Failure(`${path} ${(error as Error).message}`, {
      next: `look at it: openssl x509 -in ${path}`,
      cause: error,
    });
  }
}
