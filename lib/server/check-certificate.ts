import {
  type Certificate,
  describeOthers,
  describeRemaining,
  fullchain,
  LETSENCRYPT,
  type Lineage,
  readLineages,
  readSchedule,
  type Schedule,
  sameNames,
  wrongRenewal,
} from './certbot.ts';
import { probe } from './challenge.ts';
import {
  bad,
  caddyRows,
  certificateName,
  findProxy,
  good,
  lifetimeRow,
  type Row,
  type Served,
  type Site,
  served,
  type WebProxy,
  within,
} from './served.ts';

/**
 * Looks for all that would keep the certificate of an app from being renewed and served, while it still is. Reads,
 * but for a file that it puts below ACME_WEBROOT and takes away again.
 */
export async function checkCertificate(site: Site): Promise<Row[]> {
  const { host, app, settings, signal, now } = site;
  const proxy = await findProxy(host, app, settings.PROXY_SERVICE);
  if (proxy?.kind === 'caddy') return caddyRows(site, proxy);
  const where = { host, webroot: settings.ACME_WEBROOT, signal };
  const [lineages, challenges, answers, schedule] = await Promise.all([
    readLineages(host),
    probe(settings.DOMAIN, where),
    Promise.all(settings.DOMAIN.map((name) => served(name, signal))),
    readSchedule(host),
  ]);
  const lineage = lineages.get(certificateName(settings));
  return [
    ...certificateRows(lineage, settings.DOMAIN, now),
    ...(lineage?.renewal ? [renewalRow(lineage.renewal, settings.ACME_WEBROOT)] : []),
    ...scheduleRows(schedule),
    ...proxyRows(proxy, settings.PROXY_SERVICE),
    ...challenges.map(({ name, problem, addresses }) =>
      problem
        ? bad(`challenge of ${name}`, problem.found, problem.todo)
        : good(`challenge of ${name}`, `served at ${addresses.join(', ')}`),
    ),
    ...settings.DOMAIN.map((name, i) => servedRow(name, answers[i] as Served, lineage?.certificate, now)),
  ];
}

function certificateRows(lineage: Lineage | undefined, names: readonly string[], now: Date): Row[] {
  const { certificate } = lineage ?? {};
  if (!lineage || !certificate) return [bad('certificate', 'there is none', 'run issue-certificate')];
  const { names: its, issuer, length } = certificate;
  const of = sameNames(its, names)
    ? good('certificate', `for ${its.join(', ')}, of ${issuer}`)
    : bad('certificate', `for ${its.join(', ')}`, `run issue-certificate for ${names.join(', ')}`);
  const alone = bad(
    'chain',
    `${fullchain(lineage.name)} holds one certificate`,
    'run certbot renew --force-renewal',
  );
  return [of, ...(length === 1 ? [alone] : []), lifetimeRow('lifetime', certificate, now)];
}

function renewalRow(renewal: NonNullable<Lineage['renewal']>, webroot: string): Row {
  const wrong = wrongRenewal(renewal, webroot);
  return wrong
    ? bad('renewal', `${wrong}: that fails while the proxy runs`, 'run issue-certificate: it changes that')
    : good('renewal', `by webroot in ${webroot}`);
}

function scheduleRows(schedule: Schedule): Row[] {
  const own =
    schedule.ours.length > 0
      ? good('schedule', schedule.ours.join(', '))
      : bad('schedule', 'nothing runs renew-certificates', 'enter it in cron, as docs/certificates.md shows');
  return [own, ...describeOthers(schedule).map(({ found, todo }) => bad('schedule', found, todo))];
}

function proxyRows(proxy: WebProxy | undefined, service: string): Row[] {
  if (!proxy?.steady) return [bad('proxy', `${service} does not run`, `see: docker compose logs ${service}`)];
  const partial = proxy.mounts.find(({ Source }) => Source !== LETSENCRYPT && within(Source, LETSENCRYPT));
  if (!partial) return [good('proxy', `${service} runs`)];
  // What is in live/ are links into archive/, and a mounted file stays the one that it was.
  return [
    bad('proxy', `only ${partial.Source} is mounted in ${service}`, `mount the whole of ${LETSENCRYPT}`),
  ];
}

function servedRow(
  name: string,
  { certificate, problem }: Served,
  file: Certificate | undefined,
  now: Date,
): Row {
  const row = `served by ${name}`;
  if (!certificate) return bad(row, problem?.found ?? 'nothing', problem?.todo ?? '');
  const left = describeRemaining(certificate, now);
  if (file && file.fingerprint !== certificate.fingerprint)
    return bad(
      row,
      `another certificate than the file's, ${left}`,
      'run renew-certificates: it reloads the proxy',
    );
  return problem ? bad(row, problem.found, problem.todo) : good(row, `the certificate of the file, ${left}`);
}
