import type { Host } from '../../host.ts';
import type { Unreached } from '../../hosts/open.ts';
import { forEach } from '../../pool.ts';
import type { Context } from '../../script.ts';
import type { WebAddress } from '../../web.ts';
import { insideRows } from './inside/rows.ts';
import { secretRows } from './inside/secrets.ts';
import { healthRow, lastVerified, versionRow } from './outside/app.ts';
import { type Backup, backupRows, type History } from './outside/backup.ts';
import { dnsRow, redirectRow, tlsRow } from './outside/names.ts';
import { CHECKS, problem, type Row, unset } from './row.ts';
import { selects, type VerifySettings } from './settings.ts';

export type VerifyContext = Pick<Context, 'hosts' | 'unreached' | 'signal' | 'envFiles'> & {
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

const NO_HISTORY: History = { rows: [] };

/** Started scripts are processes: of the memory that a pool has, each takes a quarter, so that four run at once. */
const SCRIPT_WEIGHT = 16e6;

/** Looks at the app from outside and at its hosts from inside, all at once; only reads. */
export async function verify(context: VerifyContext): Promise<Verification> {
  const { settings, hosts, unreached, signal } = context;
  const looks = onHosts(context, 0, (host) => insideRows(host, settings, signal));
  const records = looks.then((all) => all.map(({ deployments = '' }) => deployments).join('\n'));
  const [outside, history, inside, secrets] = await Promise.all([
    outsideRows(context, records),
    selects(settings.CHECKS, 'backup') ? backupRows(settings.BACKUP_MAX_AGE, context) : NO_HISTORY,
    looks,
    onHosts(context, SCRIPT_WEIGHT, (host) => secretsOf(context, host)),
  ]);
  const rows = hosts.flatMap(({ name: host }, i) =>
    [...(inside[i]?.rows ?? []), ...(secrets[i] ?? [])].sort(byCheck).map((row) => ({ ...row, host })),
  );
  return {
    app: settings.APP,
    at: new Date().toISOString(),
    hosts: [...hosts, ...unreached].map(({ name }) => name),
    rows: [...[...outside, ...history.rows].sort(byCheck), ...rows, ...unreached.map(absenceRow)],
    ...(history.backups ? { backups: history.backups } : {}),
  };
}

const absenceRow = ({ name, failure: { message, next = '' } }: Unreached): Row => ({
  ...problem('answers', message, 'answers', next),
  host: name,
});

const byCheck = (a: Row, b: Row) => CHECKS.indexOf(a.check) - CHECKS.indexOf(b.check);

/** What `act` makes of each host, in their order; many at once, with a bound. */
async function onHosts<T>(
  { hosts, signal }: VerifyContext,
  weight: number,
  act: (host: Host) => Promise<T>,
): Promise<T[]> {
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

async function secretsOf(context: VerifyContext, host: Host): Promise<Row[]> {
  const { CHECKS: checks, SECRETS_FROM } = context.settings;
  if (!selects(checks, 'secrets')) return [];
  return SECRETS_FROM ? secretRows(host, context) : [unset('secrets', 'SECRETS_FROM is')];
}

/** What is seen from where the script runs. */
async function outsideRows({ settings, signal }: VerifyContext, records: Promise<string>): Promise<Row[]> {
  const { DOMAIN, EXPECTED_ADDRESS, HEALTH_URL, VERSION_URL } = settings;
  const names = (look: (name: string) => Promise<Row>) =>
    DOMAIN && (async () => Promise.all(DOMAIN.map(look)));
  const health = async (url: WebAddress) => [await healthRow(url, signal)];
  const version = async (url: WebAddress) => [await versionRow(url, lastVerified(await records), signal)];
  const looks: Array<[string, string, (() => Promise<Row[]>) | undefined]> = [
    ['dns', 'DOMAIN', names((name) => dnsRow(name, EXPECTED_ADDRESS))],
    ['tls', 'DOMAIN', names((name) => tlsRow(name, new Date(), signal))],
    ['redirect', 'DOMAIN', names((name) => redirectRow(name, signal))],
    ['health', 'HEALTH_URL', HEALTH_URL && (() => health(HEALTH_URL))],
    ['version', 'VERSION_URL', VERSION_URL && (() => version(VERSION_URL))],
  ];
  const rows = looks
    .filter(([check]) => selects(settings.CHECKS, check))
    .map(async ([check, name, look]) => look?.() ?? [unset(check, `${name} is`)]);
  return (await Promise.all(rows)).flat();
}
