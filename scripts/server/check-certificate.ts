import type { Context } from '../../lib/definition.ts';
import { script } from '../../lib/script.ts';
import type { Lineage, Schedule } from '../../lib/server/certbot.ts';
import type { Certificate, Problem, Served } from '../../lib/server/certificate.ts';
import { type CertificateSettings, certificateSettings } from '../../lib/server/certificate-settings.ts';
import type { WebProxy } from '../../lib/server/proxy.ts';

await script(import.meta, {
  does: 'Find what will keep the certificate from being renewed or served, before it expires',
  step: 'Check the certificate',
  example: 'npx tsx scripts/server/check-certificate.ts --json',
  settings: certificateSettings,
  reports: true,
  async run(context) {
    const { settings, host, report, json } = context;
    const { compose } = await import('../../lib/compose.ts');
    const { findProxy } = await import('../../lib/server/proxy.ts');

    const app = compose(host, settings.APP_DIR, settings);
    const proxy = await findProxy(host, app, settings.PROXY_SERVICE);
    const rows = await (proxy?.kind === 'caddy' ? caddyRows(context, proxy) : nginxRows(context, proxy));
    report.data(json ? JSON.stringify({ checks: rows }) : await describeRows(rows));
    await refuseProblems(rows);
  },
});

type CheckContext = Context<typeof certificateSettings>;

/** One thing that was checked; `todo` is empty where nothing is wrong. */
interface Row {
  name: string;
  ok: boolean;
  found: string;
  todo: string;
}

/** A row that says `found`, or the problem where there is one. */
function row(name: string, found: string, problem?: Problem): Row {
  return problem ? { name, ok: false, ...problem } : { name, ok: true, found, todo: '' };
}

/** Reads, but for a file that is put below ACME_WEBROOT for the moment. */
async function nginxRows(context: CheckContext, proxy: WebProxy | undefined): Promise<Row[]> {
  const { settings, host, signal } = context;
  const certbot = await import('../../lib/server/certbot.ts');
  const { probe } = await import('../../lib/server/challenge.ts');
  const { served } = await import('../../lib/server/certificate.ts');
  const [lineages, challenges, answers, schedule] = await Promise.all([
    certbot.readLineages(host),
    probe(context),
    Promise.all(settings.DOMAIN.map((name) => served(name, signal))),
    certbot.readSchedule(host),
  ]);
  const lineage = lineages.get(certbot.certificateName(settings));
  const servedRows = settings.DOMAIN.map((name, i) => servedRow(name, answers[i]!, lineage?.certificate));
  return [
    ...(await certificateRows(lineage, settings)),
    ...(await scheduleRows(schedule)),
    await proxyRow(proxy, settings.PROXY_SERVICE),
    ...challenges.map(({ name, addresses, problem }) =>
      row(`challenge of ${name}`, `served at ${addresses.join(', ')}`, problem),
    ),
    ...(await Promise.all(servedRows)),
  ];
}

/** What is in certbot's files: the certificate, and the way of its renewal. */
async function certificateRows(
  lineage: Lineage | undefined,
  { DOMAIN: names, ACME_WEBROOT: webroot }: CertificateSettings,
): Promise<Row[]> {
  const { sameNames } = await import('../../lib/server/certificate.ts');
  const { fullchain, wrongRenewal } = await import('../../lib/server/certbot.ts');
  const { certificate, renewal } = lineage ?? {};
  const rows: Row[] = [];
  if (lineage && certificate) {
    const its = certificate.names.join(', ');
    const todo = `run issue-certificate for ${names.join(', ')}`;
    const others = sameNames(certificate.names, names) ? undefined : { found: `for ${its}`, todo };
    rows.push(row('certificate', `for ${its}, of ${certificate.issuer}`, others));
    const found = `${fullchain(lineage.name)} holds one certificate`;
    if (certificate.length === 1)
      rows.push(row('chain', '', { found, todo: 'run certbot renew --force-renewal' }));
    rows.push(await lifetimeRow('lifetime', certificate));
  } else rows.push(row('certificate', '', { found: 'there is none', todo: 'run issue-certificate' }));
  if (renewal) {
    const wrong = wrongRenewal(renewal, webroot);
    const todo = 'run issue-certificate: it changes that';
    const fails = wrong ? { found: `${wrong}: that fails while the proxy runs`, todo } : undefined;
    rows.push(row('renewal', `by webroot in ${webroot}`, fails));
  }
  return rows;
}

async function lifetimeRow(name: string, certificate: Certificate): Promise<Row> {
  const { describeLifetime, isLate } = await import('../../lib/server/certificate.ts');
  const now = new Date();
  const found = describeLifetime(certificate, now);
  const todo = 'run renew-certificates, and see why it did not';
  return row(name, found, isLate(certificate, now) ? { found, todo } : undefined);
}

async function scheduleRows(schedule: Schedule): Promise<Row[]> {
  const { describeOthers } = await import('../../lib/server/certbot.ts');
  const todo = 'enter it in cron, as docs/certificates.md shows';
  const never = schedule.ours.length > 0 ? undefined : { found: 'nothing runs renew-certificates', todo };
  return [
    row('schedule', schedule.ours.join(', '), never),
    ...describeOthers(schedule).map((problem) => row('schedule', '', problem)),
  ];
}

async function proxyRow(proxy: WebProxy | undefined, service: string): Promise<Row> {
  const { LETSENCRYPT } = await import('../../lib/server/certbot.ts');
  const { within } = await import('../../lib/server/proxy.ts');
  const todo = `see: docker compose logs ${service}`;
  if (!proxy?.steady) return row('proxy', '', { found: `${service} does not run`, todo });
  // What is in live/ are links into archive/, and a mounted file stays the one that it was.
  const isPartial = ({ Source }: WebProxy['mounts'][0]) =>
    Source !== LETSENCRYPT && within(Source, LETSENCRYPT);
  const partial = proxy.kind === 'nginx' ? proxy.mounts.find(isPartial) : undefined;
  const found = `only ${partial?.Source} is mounted in ${service}`;
  const problem = partial && { found, todo: `mount the whole of ${LETSENCRYPT}` };
  return row('proxy', `${service} runs`, problem);
}

async function servedRow(
  name: string,
  { certificate, problem }: Served,
  file: Certificate | undefined,
): Promise<Row> {
  const { describeRemaining } = await import('../../lib/server/certificate.ts');
  if (!certificate) return row(`served by ${name}`, '', problem);
  const left = describeRemaining(certificate, new Date());
  const found = `not the certificate in the file, ${left}`;
  const isOther = file && file.fingerprint !== certificate.fingerprint;
  const other = { found, todo: 'run renew-certificates: it reloads the proxy' };
  return row(`served by ${name}`, `the certificate in the file, ${left}`, isOther ? other : problem);
}

/** Caddy gets and renews its certificates itself; what can go wrong is that it loses them, or is not reached. */
async function caddyRows({ settings, signal }: CheckContext, proxy: WebProxy): Promise<Row[]> {
  const { served } = await import('../../lib/server/certificate.ts');
  const { within } = await import('../../lib/server/proxy.ts');
  const { PROXY_SERVICE: service, DOMAIN: names } = settings;
  const { mounts, dataDirectory } = proxy;
  const mount = mounts.find(({ Destination }) => within(dataDirectory, Destination));
  // A volume without a name of its own goes with its container.
  const isKept = mount && !/^[0-9a-f]{64}$/.test(mount.Name ?? '');
  const lost = {
    found: `${dataDirectory} goes with the container: each new one asks for new certificates`,
    todo: `mount a named volume there in ${service}; authorities limit how often they issue the same`,
  };
  const servedRows = names.map(async (name) => {
    const { certificate, problem } = await served(name, signal);
    const isWell = certificate && !problem;
    return isWell ? lifetimeRow(`served by ${name}`, certificate) : row(`served by ${name}`, '', problem);
  });
  return [
    row('certificate', `none is needed: ${service} is a Caddy, which gets and renews its own`),
    await proxyRow(proxy, service),
    row('data', `${dataDirectory} is in ${mount?.Name ?? mount?.Source}`, isKept ? undefined : lost),
    ...(await Promise.all(servedRows)),
  ];
}

/** The rows as a table. */
export async function describeRows(rows: readonly Row[]): Promise<string> {
  const { table } = await import('../../lib/format.ts');
  const heading = ['', 'check', 'found', 'what to do'];
  return table([heading, ...rows.map(({ ok, name, found, todo }) => [ok ? '✓' : '✗', name, found, todo])]);
}

/** @throws Failure with exit 3 when a row is not good */
export async function refuseProblems(rows: readonly Row[]): Promise<void> {
  const { EXIT, Failure } = await import('../../lib/failure.ts');
  const { count } = await import('../../lib/format.ts');
  const [first, ...more] = rows.filter(({ ok }) => !ok);
  if (!first) return;
  const others = more.length > 0 ? ` (and ${count(more.length, 'more problem')})` : '';
  throw new Failure(`${first.name}: ${first.found}${others}`, { exit: EXIT.problem, next: first.todo });
}
