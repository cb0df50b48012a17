import type { Context } from '../definition.ts';
import { checkAll, Failure, messageOf } from '../failure.ts';
import { type Command, CommandFailure } from '../shell.ts';
import {
  type Certificate,
  certonly,
  checkCertbot,
  describeOthers,
  describeRemaining,
  fullchain,
  type Lineage,
  type Plan,
  planIssue,
  readLineages,
  readSchedule,
  reconfigure,
  renew,
  runCertbot,
} from './certbot.ts';
import type { acmeSettings, certificateSettings } from './certificate-settings.ts';
import { probe, refuseUnserved, serveWebroot, webserver } from './challenge.ts';
import {
  awaitServed,
  certificateName,
  findProxy,
  reload,
  type Served,
  type Site,
  served,
  siteOf,
  type WebProxy,
} from './served.ts';

/** A certificate that is in its file and not on the wire; `nothing` when port 443 does not speak TLS at all. */
class Undelivered extends Failure {
  readonly nothing: boolean;

  constructor(message: string, nothing: boolean, options: { next: string; cause?: unknown }) {
    super(message, options);
    this.name = 'Undelivered';
    this.nothing = nothing;
  }
}

/** What has to be served: a name, and the certificate in its lineage's file. */
interface Delivery {
  lineage: string;
  name: string;
  certificate: Certificate;
}

/**
 * Reloads the proxy when it serves another certificate than the file's, and sees that it then serves that one: a
 * renewal is done when a browser gets it.
 * @throws Undelivered when the proxy does not reload, or goes on with another certificate
 */
async function deliver(
  { change, signal }: Pick<Context, 'change' | 'signal'>,
  { host, app, settings: { PROXY_SERVICE: service } }: Site,
  deliveries: readonly Delivery[],
): Promise<void> {
  const now = await Promise.all(deliveries.map(({ name }) => served(name, signal)));
  const stale = deliveries.filter((d, i) => now[i]?.certificate?.fingerprint !== d.certificate.fingerprint);
  if (stale.length === 0) return;
  const command = reload(app, service);
  await change(`reload ${service}`, [command], async (step) => {
    await host.run(command).catch((error: unknown) => Promise.reject(notReloaded(error, service)));
    const then = await Promise.all(stale.map((d) => awaitServed(d.name, d.certificate, signal)));
    stale.forEach((delivery, i) => {
      refuseOther(delivery, then[i] as Served, service);
    });
    step.note(`serves the certificate of ${stale.map(({ name }) => name).join(', ')}`);
  });
}

function notReloaded(error: unknown, service: string): unknown {
  if (!(error instanceof CommandFailure)) return error;
  return new Undelivered(`${service} did not reload: ${error.words}`, false, {
    next: `correct that, see: docker compose exec ${service} nginx -t; then run renew-certificates, which reloads it`,
    cause: error,
  });
}

function refuseOther({ lineage, name, certificate }: Delivery, now: Served, service: string): void {
  if (now.certificate?.fingerprint === certificate.fingerprint) return;
  const next = `let ${service} listen on port 443 with ${fullchain(lineage)}, and run issue-certificate again`;
  if (!now.certificate) throw new Undelivered(`${name}: ${now.problem?.found}`, true, { next });
  const until = now.certificate.until.toISOString().slice(0, 10);
  throw new Undelivered(
    `${name} is served with another certificate than its file's, valid until ${until}`,
    false,
    {
      next,
    },
  );
}

type IssueContext = Context<typeof certificateSettings & typeof acmeSettings>;

/** Makes that there is a certificate for DOMAIN, that it is renewed by webroot, and that the proxy serves it. */
export async function issue(context: IssueContext): Promise<void> {
  const { settings, report } = context;
  const site = siteOf(context);
  const proxy = await proxyOrNone(site);
  if (proxy?.kind === 'caddy') return report.info(`= ${settings.PROXY_SERVICE} gets its certificates itself`);
  const lineage = (await readLineages(site.host)).get(certificateName(settings));
  const plan = planIssue(lineage, settings, site.now);
  if (plan.kind === 'keep' && lineage?.certificate) {
    const left = describeRemaining(lineage.certificate, site.now);
    report.info(`= certificate for ${settings.DOMAIN.join(', ')}: ${left}, renewed by webroot`);
  } else if (plan.kind !== 'keep') await carryOut(context, site, proxy, plan);
  await serve(context, site, proxy, plan);
}

/** An app that is not on the host yet has no proxy; its certificate can be got before it. */
async function proxyOrNone({ host, app, settings }: Site): Promise<WebProxy | undefined> {
  try {
    return await findProxy(host, app, settings.PROXY_SERVICE);
  } catch (error) {
    if (error instanceof Failure && /no configuration file provided/.test(messageOf(error))) return undefined;
    throw error;
  }
}

async function carryOut(
  context: IssueContext,
  site: Site,
  proxy: WebProxy | undefined,
  plan: Exclude<Plan, { kind: 'keep' }>,
): Promise<void> {
  const { settings, host, change, report } = context;
  await checkCertbot(host, plan.kind === 'reconfigure');
  const names = settings.DOMAIN.join(', ');
  const end = proxy?.steady ? undefined : await standIn(context, site, proxy);
  await preflight(context);
  const command = plan.kind === 'issue' ? certonly(settings, plan.force) : reconfigure(settings);
  const title =
    plan.kind === 'issue'
      ? `get a certificate for ${names} (${plan.because})`
      : `renew the certificate for ${names} by webroot (${plan.because})`;
  await change(title, [command], async () => void (await runCertbot(host, command)));
  await end?.();
  if (!context.dryRun)
    report.info(plan.kind === 'issue' ? `+ certificate for ${names}` : `~ renewal of ${names}`);
}

/**
 * Answers on port 80 while the proxy cannot, be it that it waits for this very certificate.
 * @returns what leaves the host as it was: nobody on the port, and Docker trying to start the proxy
 */
async function standIn(
  { settings, host, change, defer }: IssueContext,
  { app }: Site,
  proxy: WebProxy | undefined,
): Promise<(() => Promise<void>) | undefined> {
  const { ACME_WEBROOT: webroot, PROXY_SERVICE: service } = settings;
  // One that is restarted again and again takes the port for a moment each time.
  const stop: Command[] = proxy?.wanted ? [app.command('stop', service)] : [];
  return change(`serve ${webroot} until ${service} runs`, [...stop, webserver(webroot)], async () => {
    let stopped = stop.length > 0;
    const restart = async () => {
      if (stopped) await host.uninterrupted.run(app.command('start', service));
      stopped = false;
    };
    defer(restart);
    for (const command of stop) await host.run(command);
    const end = await serveWebroot(host, webroot);
    defer(end);
    return async () => {
      await end();
      await restart();
    };
  });
}

/** @throws Problems for each name for which the authority would not find its challenge, before it is asked */
async function preflight({ settings, host, signal, report, dryRun }: IssueContext): Promise<void> {
  const where = { host, webroot: settings.ACME_WEBROOT, signal };
  if (dryRun) return report.info(`would: see that ${settings.DOMAIN.join(', ')} serve ${where.webroot}`);
  const challenges = await report.step('see that challenges are served', () => probe(settings.DOMAIN, where));
  await checkAll(challenges.map((challenge) => () => refuseUnserved(challenge)));
}

/** The proxy starts if it waited for the certificate, and serves it; and what it serves can be renewed. */
async function serve(
  context: IssueContext,
  site: Site,
  proxy: WebProxy | undefined,
  plan: Plan,
): Promise<void> {
  const { settings, host, report, change, dryRun } = context;
  const service = settings.PROXY_SERVICE;
  if (!proxy)
    return report.info(`${service} is not there yet: it finds the certificate when the app is started`);
  if (!proxy.steady) {
    const up = site.app.command('up', '--detach', '--no-deps', service);
    await change(`start ${service}`, [up], async () => void (await host.run(up)));
  }
  if (dryRun && plan.kind === 'issue') {
    // What is served now says nothing of a certificate that is not there yet.
    if (proxy.steady) await change(`reload ${service}`, [reload(site.app, service)], async () => {});
    return;
  }
  const lineage = (await readLineages(host)).get(certificateName(settings));
  try {
    await deliver(context, site, deliveriesOf(lineage, settings.DOMAIN));
  } catch (error) {
    if (!(error instanceof Undelivered) || !error.nothing || !proxy.steady) throw error;
    report.warn(`${error.message}. Next: ${error.next}`);
  }
  if (!proxy.steady && !dryRun) await preflight(context);
}

const deliveriesOf = (lineage: Lineage | undefined, names: readonly string[]) =>
  lineage?.certificate
    ? names.map((name) => ({ lineage: lineage.name, name, certificate: lineage.certificate! }))
    : [];

type RenewContext = Context<typeof certificateSettings>;

/**
 * Renews what is due, and has it served. Says nothing when nothing was due. What was renewed is delivered even
 * when another renewal failed; the reload is a step of its own, since certbot forgives a hook that fails.
 */
export async function renewDue(context: RenewContext): Promise<void> {
  const { settings, host, report, dryRun } = context;
  const site = siteOf(context);
  const proxy = await findProxy(host, site.app, settings.PROXY_SERVICE);
  if (proxy?.kind === 'caddy') return;
  await checkCertbot(host, false);
  for (const warning of describeOthers(await readSchedule(host)))
    report.warn(`${warning.found}. Next: ${warning.todo}`);
  const before = await readLineages(host);
  const own = before.get(certificateName(settings));
  if (!own?.certificate)
    throw new Failure(`there is no certificate for ${certificateName(settings)}`, {
      next: 'run issue-certificate',
    });
  if (dryRun) {
    const commands = [renew, reload(site.app, settings.PROXY_SERVICE)];
    return void (await context.change('renew what is due', commands, async () => {}));
  }
  const failure = await runCertbot(host, renew).then(
    () => undefined,
    (error: unknown) => (error instanceof Failure ? error : Promise.reject(error)),
  );
  const after = await readLineages(host);
  const renewed = [...after.values()].filter((lineage) => isRenewed(lineage, before));
  for (const { name, certificate } of renewed)
    report.info(`~ certificate ${name}: ${certificate ? describeRemaining(certificate, site.now) : ''}`);
  const due = [...after.values()].filter((l) => l.name === own.name || renewed.includes(l));
  await deliver(context, site, due.flatMap(deliveryOf));
  if (failure) throw failure;
}

const isRenewed = ({ name, certificate }: Lineage, before: ReadonlyMap<string, Lineage>) =>
  certificate?.fingerprint !== before.get(name)?.certificate?.fingerprint;

/** A lineage is looked at by one of its names: all of them are in the one file. */
function deliveryOf({ name: lineage, certificate }: Lineage): Delivery[] {
  const [name] = certificate?.names ?? [];
  return name && certificate ? [{ lineage, name, certificate }] : [];
}
