import type { Command } from '../../command.ts';
import { checkAll, Failure, messageOf } from '../../failure.ts';
import type { Context } from '../../script.ts';
import { certonly, checkCertbot, reconfigure, runCertbot } from './certbot.ts';
import { describeRemaining } from './certificate.ts';
import { probe, refuseUnserved } from './challenge.ts';
import { deliver, Undelivered } from './deliver.ts';
import { type Lineage, readLineages } from './lineage.ts';
import { type Plan, planIssue } from './plan.ts';
import { findProxy, reload, type WebProxy } from './proxy.ts';
import type { acmeSettings, certificateSettings } from './settings.ts';
import { certificateName, type Site, siteOf } from './site.ts';
import { serveWebroot, webserver } from './webserver.ts';

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
