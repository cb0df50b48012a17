import { text } from 'node:stream/consumers';
import { type Command, CommandFailure } from '../../command.ts';
import { EXIT, Failure } from '../../failure.ts';
import type { Host } from '../../host.ts';
import type { AcmeSettings, CertificateSettings } from './settings.ts';

/** The first version with `certbot reconfigure`. */
const RECONFIGURES = [2, 3] as const;

/** Where certbot goes when it is told of no other authority. */
export const LETS_ENCRYPT = 'https://acme-v02.api.letsencrypt.org/directory';

type Wanted = CertificateSettings & AcmeSettings;

const certbot = (...args: string[]): Command => ({
  argv: ['certbot', ...args, '--non-interactive'],
  root: true,
});
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
  const version = await runCertbot(host, { argv: ['certbot', '--version'], root: true });
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
