import { X509Certificate } from 'node:crypto';
import { text } from 'node:stream/consumers';
import { EXIT, Failure } from '../failure.ts';
import { type Command, CommandFailure, cmd, type Host } from '../shell.ts';
import type { AcmeSettings, CertificateSettings } from './certificate-settings.ts';

/** The first version with `certbot reconfigure`. */
const RECONFIGURES = [2, 3] as const;

/** Where certbot goes when it is told of no other authority. */
export const LETS_ENCRYPT = 'https://acme-v02.api.letsencrypt.org/directory';

type Wanted = CertificateSettings & AcmeSettings;

const certbot = (...args: string[]): Command => ({ ...cmd`certbot ${args} --non-interactive`, root: true });
const webroot = ({ ACME_WEBROOT }: CertificateSettings) => ['--webroot', '--webroot-path', ACME_WEBROOT];
const nameOf = ({ DOMAIN: [name = ''] }: CertificateSettings) => ['--cert-name', name];

/** Gets a certificate, and saves webroot as the way of its renewal. */
export const certonly = (settings: Wanted, force: boolean): Command =>
  certbot(
    ...['certonly', ...webroot(settings), ...nameOf(settings)],
    ...settings.DOMAIN.flatMap((name) => ['--domain', name]),
    ...['--agree-tos', '--no-eff-email', '--email', settings.ACME_EMAIL, '--renew-with-new-domains'],
    ...(settings.ACME_SERVER ? ['--server', settings.ACME_SERVER] : []),
    force ? '--force-renewal' : '--keep-until-expiring',
  );

/** Changes the way of renewal; certbot rehearses it before it saves it. */
export const reconfigure = (settings: CertificateSettings): Command =>
  certbot('reconfigure', ...nameOf(settings), ...webroot(settings));

/**
 * Renews what is due, each certificate in the way that is saved with it: flags would override that for all of them,
 * and `certbot renew --dry-run` would then test something else than what cron runs. It runs from cron at a minute of
 * its own, and need not wait at random.
 */
export const renew: Command = certbot('renew', '--no-random-sleep-on-renew');

/** @throws Failure when there is no certbot, or when it is too old for what is to be done with it */
export async function checkCertbot(host: Host, needsReconfigure: boolean): Promise<void> {
  const version = await runCertbot(host, { ...cmd`certbot --version`, root: true });
  const [, major = '0', minor = '0'] = /(\d+)\.(\d+)/.exec(version) ?? [];
  const [first, second] = RECONFIGURES;
  if (!needsReconfigure || Number(major) > first) return;
  if (Number(major) === first && Number(minor) >= second) return;
  throw new Failure(`${version.trim()} cannot change how a certificate is renewed: that came with 2.3`, {
    next: 'install a newer certbot, or get the certificate anew: the same certonly with --force-renewal',
  });
}

/** Runs certbot and returns what it said. @throws Failure with its reason in one line */
export async function runCertbot(host: Host, command: Command): Promise<string> {
  const running = host.start(command);
  running.stdin.end();
  // What it prints is needed above all when it fails: there it gives the authority's reasons.
  const [said, ended] = await Promise.allSettled([text(running.stdout), running.done]);
  const output = said.status === 'fulfilled' ? said.value : '';
  if (ended.status === 'fulfilled') return output;
  const error: unknown = ended.reason;
  if (!(error instanceof CommandFailure)) throw error;
  if (/command not found/.test(error.words))
    throw new Failure('certbot: command not found', { next: 'install certbot on the host', cause: error });
  if (error.code === null) throw error;
  throw explained(`${output}\n${error.stderr}`, error);
}

/** What certbot, or the authority through it, gives as the reason: on one line. */
export function reasonOf(output: string): string {
  const refusals = [...output.matchAll(/Domain:\s*(.+)\n\s*Type:\s*(.+)\n\s*Detail:\s*(.+)/g)];
  if (refusals.length > 0)
    return refusals.map(([, name, type, detail]) => `${name}: ${detail} (${type})`).join('; ');
  const renewals = [...output.matchAll(/Failed to renew certificate (\S+) with error: (.+)/g)];
  if (renewals.length > 0) return renewals.map(([, name, reason]) => `${name}: ${reason}`).join('; ');
  const [, unexpected] = /An unexpected error occurred:\s*\n(.+)/.exec(output) ?? [];
  if (unexpected) return unexpected.trim();
  const noise = /^(Saving debug log|Ask for help|Some challenges|- - -|\s*$)/;
  const lines = output.split('\n').filter((line) => !noise.test(line));
  return lines.at(-1)?.trim() ?? 'it says no more';
}

const LOG = '/var/log/letsencrypt/letsencrypt.log';

function explained(output: string, cause: CommandFailure): Failure {
  const reason = reasonOf(output);
  if (/another instance of certbot/i.test(output))
    return new Failure('another certbot runs on this host', {
      exit: EXIT.locked,
      next: 'try again shortly',
      cause,
    });
  if (/too many|rateLimited|rate limit/i.test(reason))
    return new Failure(`certbot: ${reason}`, {
      next: 'wait as long as it says; until then try with ACME_SERVER set to a staging server',
      cause,
    });
  return new Failure(`certbot: ${reason}`, {
    next: `run check-certificate; certbot's own log is ${LOG}`,
    cause,
  });
}

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
function remaining({ from, until }: Pick<Certificate, 'from' | 'until'>, now: Date): number {
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

/** Where certbot keeps what it has; its own default. */
export const LETSENCRYPT = '/etc/letsencrypt';

export const fullchain = (name: string): string => `${LETSENCRYPT}/live/${name}/fullchain.pem`;
const renewalFile = (name: string): string => `${LETSENCRYPT}/renewal/${name}.conf`;

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
const dump = (...patterns: string[]): Command => ({ ...cmd`sh -c ${DUMP} dump ${patterns}`, root: true });

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

/** What is to be done for a certificate to be there, and to be renewed by webroot. */
export type Plan =
  | { kind: 'keep' }
  | { kind: 'reconfigure'; because: string }
  | { kind: 'issue'; because: string; force: boolean };

type PlanWanted = Pick<CertificateSettings, 'DOMAIN' | 'ACME_WEBROOT'> & Pick<AcmeSettings, 'ACME_SERVER'>;

/** @throws Failure when there is a certificate in its place that certbot knows nothing of, and would trip over */
export function planIssue(lineage: Lineage | undefined, wanted: PlanWanted, now: Date): Plan {
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

/** What renews certificates on a host by itself. */
export interface Schedule {
  /** Where renew-certificates is entered. */
  ours: string[];
  /** Timers and cron files that run certbot without a reload and a look at what is served. */
  others: string[];
}

/** Prints whether systemd runs the host, its active timers, and the lines of cron and units that may be of interest. */
const LOOK = `if [ -d /run/systemd/system ]; then echo systemd; fi
systemctl list-units --type=timer --state=active --plain --no-legend 2>/dev/null
grep -rHsE 'certbot|renew-certificates' /etc/crontab /etc/cron.d /var/spool/cron /etc/systemd/system
true`;
const look: Command = { ...cmd`sh -c ${LOOK}`, root: true };

/** Reads the crontabs and timers of a host. */
export async function readSchedule(host: Host): Promise<Schedule> {
  return parseSchedule(await host.run(look));
}

export function parseSchedule(text: string): Schedule {
  const lines = text.split('\n').filter(Boolean);
  const systemd = lines.includes('systemd');
  const timers = lines.flatMap((line) => /^(\S*certbot\S*\.timer)\s/.exec(line)?.[1] ?? []);
  const entries = lines.flatMap((line) => {
    const [, file = '', entry = ''] = /^(\/[^:]+):(?!\s*#)(.*)$/.exec(line) ?? [];
    // Debian's own entry does nothing where its timer does.
    return file && !(systemd && entry.includes('! -d /run/systemd/system')) ? [{ file, entry }] : [];
  });
  const files = (found: typeof entries) => [...new Set(found.map(({ file }) => file))];
  const own = ({ entry }: { entry: string }) => entry.includes('renew-certificates');
  const foreign = ({ file, entry }: { file: string; entry: string }) =>
    /certbot.*\brenew\b/.test(entry) && !file.startsWith('/etc/systemd/');
  return {
    ours: files(entries.filter(own)),
    others: [...timers, ...files(entries.filter((line) => !own(line) && foreign(line)))],
  };
}

/** What to do about each that renews beside renew-certificates: it would leave the old certificate served. */
export function describeOthers({ others }: Schedule): Array<{ found: string; todo: string }> {
  return others.map((other) => ({
    found: `${other} renews as well, and reloads nothing`,
    todo: other.endsWith('.timer')
      ? `systemctl disable --now ${other}`
      : `take certbot's line out of ${other}`,
  }));
}
