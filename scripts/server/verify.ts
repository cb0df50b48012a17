import { type Context, option } from '../../lib/definition.ts';
import { script } from '../../lib/script.ts';
import type { Inspected } from '../../lib/server/verify-host.ts';
import type { Finding, Row } from '../../lib/server/verify-report.ts';
import { selects, verifySettings } from '../../lib/server/verify-settings.ts';
import type { Host } from '../../lib/shell.ts';
import type { WebAddress } from '../../lib/web.ts';

/** Started scripts are processes: of the memory that a pool has, each takes a quarter, so that four run at once. */
const SCRIPT_WEIGHT = 16e6;

await script(import.meta, {
  name: 'verify-server',
  does: 'Check the app from outside and its hosts from inside: names, certificate, health, containers, disks, backups',
  step: 'Verify the app and its hosts',
  example: 'npx tsx scripts/server/verify.ts --target ssh://ec2-user@bloaty-app.com --html report.html',
  settings: verifySettings,
  flags: {
    html: option<string>('--html <file>', 'also write the report as one HTML page'),
  },
  reports: true,
  reaches: 'hosts that answer',
  async run(context) {
    const { settings, flags, hosts, unreached, signal, report, json } = context;
    const { inspectHost } = await import('../../lib/server/verify-host.ts');
    const { checkBackups } = await import('../../lib/server/verify-outside.ts');
    const { describeVerification, problem, refuseProblems } = await import(
      '../../lib/server/verify-report.ts'
    );

    // All at once; it only reads.
    const inspecting = onHosts(context, 0, (host) => inspectHost(host, settings, signal));
    const [outside, history, inside, secrets] = await Promise.all([
      outsideRows(context, inspecting),
      selects(settings.CHECKS, 'backup') ? checkBackups(settings.BACKUP_MAX_AGE, context) : { findings: [] },
      inspecting,
      onHosts(context, SCRIPT_WEIGHT, (host) => secretRows(context, host)),
    ]);
    const onEach = hosts.flatMap(({ name: host }, i) =>
      [...(inside[i]?.rows ?? []), ...(secrets[i] ?? [])].map((row) => ({ ...row, host })),
    );
    const absent = unreached.map(({ name: host, failure: { message, next = '' } }) => ({
      ...{ check: 'answers', ...problem(message, 'answers', next), host },
    }));
    const found = {
      app: settings.APP,
      at: new Date().toISOString(),
      hosts: [...hosts, ...unreached].map(({ name }) => name),
      rows: [...outside, ...rowsOf('backup', history.findings), ...onEach, ...absent],
      ...('backups' in history ? { backups: history.backups } : {}),
    };

    report.data(json ? JSON.stringify(found) : describeVerification(found));
    if (flags.html !== undefined) {
      const { writePage } = await import('../../lib/server/verify-html.ts');
      await writePage(flags.html, found);
    }
    refuseProblems(found.rows);
  },
});

type VerifyContext = Pick<Context<typeof verifySettings>, 'settings' | 'hosts' | 'signal' | 'envFiles'>;

function rowsOf(check: string, findings: readonly Finding[]): Row[] {
  return findings.map((finding) => ({ check, ...finding }));
}

/** What `act` makes of each host, in their order; many at once, with a bound. */
async function onHosts<T>(
  { hosts, signal }: VerifyContext,
  weight: number,
  act: (host: Host) => Promise<T>,
): Promise<T[]> {
  const { forEach } = await import('../../lib/pool.ts');
  const made: T[] = [];
  await forEach(hosts.entries(), {
    signal,
    weigh: () => weight,
    act: async ([i, host]) => {
      made[i] = await act(host);
    },
  });
  return made;
}

async function secretRows(context: VerifyContext, host: Host): Promise<Row[]> {
  const { CHECKS, SECRETS_FROM } = context.settings;
  if (!selects(CHECKS, 'secrets')) return [];
  const { checkSecrets } = await import('../../lib/server/verify-outside.ts');
  const { unset } = await import('../../lib/server/verify-report.ts');
  return rowsOf('secrets', [SECRETS_FROM ? await checkSecrets(host, context) : unset('SECRETS_FROM is')]);
}

/** What is seen from where the script runs; what was deployed is recorded on the hosts. */
async function outsideRows(
  { settings, signal }: VerifyContext,
  inspecting: Promise<Inspected[]>,
): Promise<Row[]> {
  const outside = await import('../../lib/server/verify-outside.ts');
  const { unset } = await import('../../lib/server/verify-report.ts');
  const { DOMAIN, EXPECTED_ADDRESS, HEALTH_URL, VERSION_URL } = settings;
  const version = async (url: WebAddress) => {
    const records = (await inspecting).map(({ deployments = '' }) => deployments).join('\n');
    return outside.checkVersion(url, outside.lastVerified(records), signal);
  };
  const ofNames = (check: (name: string) => Promise<Finding>) => DOMAIN && (() => DOMAIN.map(check));
  const checks: Array<[check: string, setting: string, (() => Array<Promise<Finding>>) | undefined]> = [
    ['dns', 'DOMAIN', ofNames((name) => outside.checkDns(name, EXPECTED_ADDRESS))],
    ['tls', 'DOMAIN', ofNames((name) => outside.checkTls(name, signal))],
    ['redirect', 'DOMAIN', ofNames((name) => outside.checkRedirect(name, signal))],
    ['health', 'HEALTH_URL', HEALTH_URL && (() => [outside.checkHealth(HEALTH_URL, signal)])],
    ['version', 'VERSION_URL', VERSION_URL && (() => [version(VERSION_URL)])],
  ];
  const rows = checks
    .filter(([check]) => selects(settings.CHECKS, check))
    .map(async ([check, setting, start]) =>
      rowsOf(check, start ? await Promise.all(start()) : [unset(`${setting} is`)]),
    );
  return (await Promise.all(rows)).flat();
}
