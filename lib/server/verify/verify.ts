import type { Context } from '../../script.ts';
import { insideRows } from './inside/rows.ts';
import { secretRows } from './inside/secrets.ts';
import { healthRow, lastVerified, versionRow } from './outside/app.ts';
import { type Backup, backupRows } from './outside/backup.ts';
import { dnsRow, redirectRow, tlsRow } from './outside/names.ts';
import { CHECKS, type Row, unset } from './row.ts';
import { selects, type VerifySettings } from './settings.ts';

export type VerifyContext = Pick<Context, 'hosts' | 'signal' | 'envFiles'> & {
  settings: VerifySettings & Context['settings'];
};

/** All that was found out about an app. */
export interface Verification {
  app: string;
  /** ISO 8601, UTC. */
  at: string;
  hosts: string[];
  rows: Row[];
  /** The history of the backups, oldest first, where it was looked at. */
  backups?: Backup[];
}

/** Looks at the app from outside and at its hosts from inside, all at once; only reads. */
export async function verify(context: VerifyContext): Promise<Verification> {
  const { settings, hosts, signal } = context;
  const looks = hosts.map(async (host) => {
    const [looked, secrets] = await Promise.all([
      insideRows(host, settings, signal),
      secretsOf(context, host),
    ]);
    const rows = [...looked.rows, ...secrets].map((row) => ({ ...row, host: host.name }));
    return { ...looked, rows };
  });
  const backups = selects(settings.CHECKS, 'backup')
    ? backupRows(settings.BACKUP_MAX_AGE, context)
    : Promise.resolve({ rows: [] as Row[] });
  const records = Promise.all(looks).then((all) => all.map(({ deployments = '' }) => deployments).join('\n'));
  const [outside, history, inside] = await Promise.all([
    outsideRows(context, records),
    backups,
    Promise.all(looks),
  ]);
  const rows = [...outside, ...history.rows, ...inside.flatMap((one) => one.rows)];
  return {
    app: settings.APP,
    at: new Date().toISOString(),
    hosts: hosts.map(({ name }) => name),
    rows: rows.sort((a, b) => hostOrder(hosts, a) - hostOrder(hosts, b) || order(a) - order(b)),
    ...('backups' in history ? { backups: history.backups as Backup[] } : {}),
  };
}

const order = ({ check }: Row) => CHECKS.indexOf(check);
const hostOrder = (hosts: VerifyContext['hosts'], { host }: Row) =>
  hosts.findIndex(({ name }) => name === host);

async function secretsOf(context: VerifyContext, host: VerifyContext['hosts'][number]): Promise<Row[]> {
  const { CHECKS: checks, SECRETS_FROM } = context.settings;
  if (!selects(checks, 'secrets')) return [];
  return SECRETS_FROM ? secretRows(host, context) : [unset('secrets', 'SECRETS_FROM is')];
}

/** What is seen from where the script runs. */
async function outsideRows({ settings, signal }: VerifyContext, records: Promise<string>): Promise<Row[]> {
  const { DOMAIN, EXPECTED_ADDRESS, HEALTH_URL, VERSION_URL } = settings;
  const names = (look: (name: string) => Promise<Row>) => async () => Promise.all((DOMAIN ?? []).map(look));
  const looks: Array<[string, 'DOMAIN' | 'HEALTH_URL' | 'VERSION_URL', () => Promise<Row[]>]> = [
    ['dns', 'DOMAIN', names((name) => dnsRow(name, EXPECTED_ADDRESS))],
    ['tls', 'DOMAIN', names((name) => tlsRow(name, new Date(), signal))],
    ['redirect', 'DOMAIN', names((name) => redirectRow(name, signal))],
    ['health', 'HEALTH_URL', async () => [await healthRow(HEALTH_URL ?? '', signal)]],
    [
      'version',
      'VERSION_URL',
      async () => [await versionRow(VERSION_URL ?? '', lastVerified(await records), signal)],
    ],
  ];
  const rows = looks
    .filter(([check]) => selects(settings.CHECKS, check))
    .map(async ([check, name, look]) => (settings[name] ? look() : [unset(check, `${name} is`)]));
  return (await Promise.all(rows)).flat();
}
