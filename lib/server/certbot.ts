import { text } from 'node:stream/consumers';
import { type Command, CommandFailure, cmd } from '../command.ts';
import { EXIT, Failure } from '../failure.ts';
import type { Host } from '../shell.ts';
import {
  type Certificate,
  describeRemaining,
  isLate,
  type Problem,
  parseChain,
  sameNames,
} from './certificate.ts';
import type { AcmeSettings, CertificateSettings } from './certificate-settings.ts';

/** The authority that certbot asks by default. */
export const LETS_ENCRYPT = 'https://acme-v02.api.letsencrypt.org/directory';

/** What a certificate of an app is called: its first name. */
export const certificateName = ({ DOMAIN: [name = ''] }: Pick<CertificateSettings, 'DOMAIN'>): string => name;

const certbot = (words: Command): Command => ({ ...cmd`certbot ${words} --non-interactive`, root: true });
const byWebroot = ({ ACME_WEBROOT }: CertificateSettings) => cmd`--webroot --webroot-path ${ACME_WEBROOT}`;

/** Gets a certificate, and saves webroot as the way of its renewal. */
export function certonly(settings: CertificateSettings & AcmeSettings, force: boolean): Command {
  const { DOMAIN, ACME_EMAIL, ACME_SERVER } = settings;
  const names = cmd`--cert-name ${certificateName(settings)} ${DOMAIN.flatMap((name) => ['--domain', name])}`;
  const account = cmd`--agree-tos --no-eff-email --email ${ACME_EMAIL}`;
  const server = ACME_SERVER ? ['--server', ACME_SERVER] : [];
  const when = force ? '--force-renewal' : '--keep-until-expiring';
  return certbot(
    cmd`certonly ${byWebroot(settings)} ${names} ${account} --renew-with-new-domains ${server} ${when}`,
  );
}

/** Changes the way of renewal; certbot rehearses it before it saves it. */
export const reconfigure = (settings: CertificateSettings): Command =>
  certbot(cmd`reconfigure --cert-name ${certificateName(settings)} ${byWebroot(settings)}`);

/**
 * Renews what is due, each certificate in the way that is saved with it: flags would override that for all of them,
 * and `certbot renew --dry-run` would then test something else than what cron runs. It runs from cron at a minute of
 * its own, and need not wait at random.
 */
export const renew: Command = certbot(cmd`renew --no-random-sleep-on-renew`);

/** @throws Failure when there is no certbot, or when it is too old for what is to be done with it */
export async function checkCertbot(host: Host, needsReconfigure: boolean): Promise<void> {
  const version = await runCertbot(host, { ...cmd`certbot --version`, root: true });
  const [, major, minor] = /(\d+)\.(\d+)/.exec(version) ?? [];
  const reconfigures = Number(major) > 2 || (Number(major) === 2 && Number(minor) >= 3);
  if (!needsReconfigure || reconfigures) return;
  throw new Failure(`${version.trim()} cannot change how a certificate is renewed: that came with 2.3`, {
    next: 'install a newer certbot, or get the certificate again: the same certonly with --force-renewal',
  });
}

/** Runs certbot and returns what it printed. @throws Failure with its reason in one line */
export async function runCertbot(host: Host, command: Command): Promise<string> {
  const running = host.start(command);
  running.stdin.end();
  // What it prints is needed above all when it fails: there it gives the authority's reasons.
  const [printed, ended] = await Promise.allSettled([text(running.stdout), running.done]);
  const output = printed.status === 'fulfilled' ? printed.value : '';
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
  return lines.at(-1)?.trim() ?? 'it gives no reason';
}

function explained(output: string, cause: CommandFailure): Failure {
  const reason = reasonOf(output);
  if (/another instance of certbot/i.test(output)) {
    const options = { exit: EXIT.locked, next: 'try again shortly', cause };
    return new Failure('another certbot runs on this host', options);
  }
  const next = /too many|rateLimited|rate limit/i.test(reason)
    ? 'wait as long as it says; until then try with ACME_SERVER set to a staging server'
    : "run check-certificate; certbot's own log is /var/log/letsencrypt/letsencrypt.log";
  return new Failure(`certbot: ${reason}`, { next, cause });
}

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
const PRINT_FILES =
  'for pattern; do for file in $pattern; do if [ -e "$file" ]; then echo "==> $file"; cat "$file" || exit; fi; done; done';

/** All lineages of a host by name; read in one go, since over ssh and SSM each command costs. */
export async function readLineages(host: Host): Promise<Map<string, Lineage>> {
  const files = [renewalFile('*'), fullchain('*')];
  const text = await host.run({ ...cmd`sh -c ${PRINT_FILES} print ${files}`, root: true });
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
      next: `read it: openssl x509 -in ${path}`,
      cause: error,
    });
  }
}

/** What is to be done for a certificate to be there, and to be renewed by webroot; and why, or what is left of it. */
export type Plan =
  | { kind: 'keep' | 'reconfigure'; because: string }
  | { kind: 'issue'; because: string; force: boolean };

type Request = Pick<CertificateSettings & AcmeSettings, 'DOMAIN' | 'ACME_WEBROOT' | 'ACME_SERVER'>;

/** @throws Failure when there is a certificate in its place that certbot knows nothing of, and would trip over */
export function planIssue(lineage: Lineage | undefined, request: Request, now: Date): Plan {
  const { certificate, renewal } = lineage ?? {};
  const issue = (because: string, force = false): Plan => ({ kind: 'issue', because, force });
  if (lineage && !renewal) throw foreign(lineage.name);
  if (!certificate || !renewal) return issue('there is none');
  if (!sameNames(certificate.names, request.DOMAIN))
    return issue(`it is for ${certificate.names.join(', ')}`);
  if (renewal.server !== (request.ACME_SERVER ?? LETS_ENCRYPT))
    return issue(`it is from ${renewal.server}`, true);
  const left = describeRemaining(certificate, now);
  if (isLate(certificate, now)) return issue(left);
  const wrong = wrongRenewal(renewal, request.ACME_WEBROOT);
  return wrong ? { kind: 'reconfigure', because: wrong } : { kind: 'keep', because: left };
}

/** What is wrong with the way of renewal, if anything. */
export function wrongRenewal({ authenticator, webroots }: Renewal, webroot: string): string | undefined {
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
  /** Timers and cron files that run certbot alone, which reloads nothing and does not check what is served. */
  others: string[];
}

/** Prints whether systemd runs the host, its active timers, and the lines of cron and units that may be of interest. */
const PRINT_SCHEDULE = `if [ -d /run/systemd/system ]; then echo systemd; fi
systemctl list-units --type=timer --state=active --plain --no-legend 2>/dev/null
grep -rHsE 'certbot|renew-certificates' /etc/crontab /etc/cron.d /var/spool/cron /etc/systemd/system
true`;

/** Reads the crontabs and timers of a host. */
export async function readSchedule(host: Host): Promise<Schedule> {
  return parseSchedule(await host.run({ ...cmd`sh -c ${PRINT_SCHEDULE}`, root: true }));
}

export function parseSchedule(text: string): Schedule {
  const lines = text.split('\n').filter(Boolean);
  const timers = lines.flatMap((line) => /^(\S*certbot\S*\.timer)\s/.exec(line)?.[1] ?? []);
  const [ours, others] = [new Set<string>(), new Set<string>(timers)];
  for (const line of lines) {
    const [, file = '', entry = ''] = /^(\/[^:]+):(?!\s*#)(.*)$/.exec(line) ?? [];
    // Debian's own entry does nothing where its timer does.
    if (lines.includes('systemd') && entry.includes('! -d /run/systemd/system')) continue;
    if (entry.includes('renew-certificates')) ours.add(file);
    else if (/certbot.*\brenew\b/.test(entry) && !file.startsWith('/etc/systemd/')) others.add(file);
  }
  return { ours: [...ours], others: [...others] };
}

/** What to do about each that renews beside renew-certificates: it would leave the old certificate served. */
export const describeOthers = ({ others }: Schedule): Problem[] =>
  others.map((other) => ({
    found: `${other} renews as well, and reloads nothing`,
    todo: other.endsWith('.timer')
      ? `systemctl disable --now ${other}`
      : `take certbot's line out of ${other}`,
  }));
