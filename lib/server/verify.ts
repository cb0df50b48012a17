import type { Context } from '../definition.ts';
import { count } from '../format.ts';
import type { Unreached } from '../hosts.ts';
import { forEach } from '../pool.ts';
import type { Host } from '../shell.ts';
import type { WebAddress } from '../web.ts';
import { insideRows } from './verify-host.ts';
import {
  type Backup,
  backupRows,
  dnsRow,
  type History,
  healthRow,
  lastVerified,
  redirectRow,
  secretRows,
  tlsRow,
  versionRow,
} from './verify-outside.ts';
import {
  CHECKS,
  problem,
  type Row,
  type State,
  selects,
  unset,
  type VerifySettings,
} from './verify-settings.ts';

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

const MARKS: Readonly<Record<State, string>> = {
  ...{ ok: '✓', warning: '!', problem: '✗', unknown: '?', unset: '-' },
};

/** A terminal's width, and where the text of a row begins. */
const WIDTH = 80;
const INDENT = 14;

/** The rows as a table of 80 columns, grouped by where they were seen, with what to do under each that wants it. */
export function describeVerification({ app, at, hosts, rows }: Verification): string {
  const outside = rows.filter(({ host }) => host === undefined);
  const groups = [
    ...(outside.length > 0 ? [['from outside', ...outside.flatMap(describeRow)]] : []),
    ...hosts.map((host) => {
      const its = rows.filter((row) => row.host === host);
      return its.length > 0 ? [`on ${host}`, ...its.flatMap(describeRow)] : [];
    }),
  ];
  const body = groups.filter((group) => group.length > 0).map((group) => group.join('\n'));
  return [...body, `${app}, ${at.slice(0, 19)}Z: ${summary(rows)}`].join('\n\n');
}

/** `12 ok, 1 warning, 2 problems`. */
function summary(rows: readonly Row[]): string {
  const of = (state: State) => rows.filter((row) => row.state === state).length;
  const [ok, warnings, problems, unknown, unset] = [
    of('ok'),
    of('warning'),
    of('problem'),
    of('unknown'),
    of('unset'),
  ];
  return [
    `${ok} ok`,
    ...(warnings > 0 ? [count(warnings, 'warning')] : []),
    ...(problems > 0 ? [count(problems, 'problem')] : []),
    ...(unknown > 0 ? [`${unknown} could not be looked at`] : []),
    ...(unset > 0 ? [`${unset} not set`] : []),
  ].join(', ');
}

function describeRow({ check, state, found, expected, todo, lines = [] }: Row): string[] {
  const [first = '', ...rest] = wrap(found);
  const wanted = state === 'ok' || state === 'unset' ? [] : wrap(`expected: ${expected}`);
  return [
    `${MARKS[state]} ${check.padEnd(INDENT - 2)}${first}`,
    ...[
      ...rest,
      ...lines.flatMap((line) => wrap(`| ${line}`)),
      ...wanted,
      ...(todo ? wrap(`→ ${todo}`) : []),
    ].map((line) => `${' '.repeat(INDENT)}${line}`),
  ];
}

/** Lines of at most the width that a row has, broken at blanks; a longer word is cut. */
function wrap(text: string): string[] {
  const lines: string[] = [];
  let rest = text.replaceAll(/\s+/g, ' ');
  const width = WIDTH - INDENT;
  while (rest.length > width) {
    const blank = rest.lastIndexOf(' ', width);
    const end = blank > 2 ? blank : width;
    lines.push(rest.slice(0, end));
    rest = rest.slice(end).trimStart();
  }
  return [...lines, rest];
}
