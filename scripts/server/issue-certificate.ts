import type { Compose } from '../../lib/compose.ts';
import type { Context } from '../../lib/definition.ts';
import { script } from '../../lib/script.ts';
import type { Plan } from '../../lib/server/certbot.ts';
import { acmeSettings, certificateSettings } from '../../lib/server/certificate-settings.ts';
import type { WebProxy } from '../../lib/server/proxy.ts';

await script(import.meta, {
  does: "Get the app's certificate, whether or not the proxy is running, and set up its renewal",
  step: 'Get a certificate',
  example: 'npx tsx scripts/server/issue-certificate.ts --dry-run',
  settings: { ...certificateSettings, ...acmeSettings },
  changes: true,
  async run(context) {
    const { settings, host, report, change, dryRun } = context;
    const certbot = await import('../../lib/server/certbot.ts');
    const { compose } = await import('../../lib/compose.ts');
    const { deliver, deliveriesOf, NoTls, reload } = await import('../../lib/server/proxy.ts');
    const { DOMAIN, PROXY_SERVICE: service } = settings;

    const app = compose(host, settings.APP_DIR, settings);
    const proxy = await proxyOrNone(context, app);
    if (proxy?.kind === 'caddy') return report.info(`= ${service} gets its certificates itself`);
    const readOwn = async () => (await certbot.readLineages(host)).get(certbot.certificateName(settings));
    const plan = certbot.planIssue(await readOwn(), settings, new Date());

    if (plan.kind === 'keep')
      report.info(`= certificate for ${DOMAIN.join(', ')}: ${plan.because}, renewed by webroot`);
    else await carryOut(context, plan, app, proxy);

    if (!proxy)
      return report.info(`${service} is not there yet: it finds the certificate when the app is started`);
    if (!proxy.steady) {
      const up = app.command('up', '--detach', '--no-deps', service);
      await change(`start ${service}`, [up], () => host.run(up));
    }
    if (dryRun && plan.kind === 'issue') {
      // What is served now says nothing of a certificate that is not there yet.
      if (proxy.steady) await change(`reload ${service}`, [reload(app, service)], async () => {});
      return;
    }
    try {
      await deliver(context, app, service, deliveriesOf(await readOwn(), DOMAIN));
    } catch (error) {
      if (!(error instanceof NoTls) || !proxy.steady) throw error;
      report.warn(`${error.message}. Next: ${error.next}`);
    }
    // What is served can be renewed as well.
    if (!proxy.steady && !dryRun) await probeChallenges(context);
  },
});

type IssueContext = Context<typeof certificateSettings & typeof acmeSettings>;

/** An app that is not on the host yet has no proxy; its certificate can be got before it. */
async function proxyOrNone({ host, settings }: IssueContext, app: Compose): Promise<WebProxy | undefined> {
  const { Failure, messageOf } = await import('../../lib/failure.ts');
  const { findProxy } = await import('../../lib/server/proxy.ts');
  try {
    return await findProxy(host, app, settings.PROXY_SERVICE);
  } catch (error) {
    if (error instanceof Failure && /no configuration file provided/.test(messageOf(error))) return undefined;
    throw error;
  }
}

/** Has certbot get the certificate, or change how it is renewed: by the proxy, or in its place while it does not run. */
async function carryOut(
  context: IssueContext,
  plan: Plan,
  app: Compose,
  proxy: WebProxy | undefined,
): Promise<void> {
  const { settings, host, report, change, dryRun } = context;
  const { certonly, checkCertbot, reconfigure, runCertbot } = await import('../../lib/server/certbot.ts');
  const names = settings.DOMAIN.join(', ');
  await checkCertbot(host, plan.kind === 'reconfigure');
  const end = proxy?.steady ? undefined : await standIn(context, app, proxy);
  await probeChallenges(context);
  const [title, command, done] =
    plan.kind === 'issue'
      ? [`get a certificate for ${names}`, certonly(settings, plan.force), `+ certificate for ${names}`]
      : [`renew the certificate for ${names} by webroot`, reconfigure(settings), `~ renewal of ${names}`];
  await change(`${title} (${plan.because})`, [command], () => runCertbot(host, command));
  await end?.();
  if (!dryRun) report.info(done);
}

/**
 * Answers on port 80 while the proxy cannot, be it that it waits for this very certificate.
 * @returns what leaves the host as it was: nobody on the port, and Docker trying to start the proxy
 */
async function standIn(
  { settings, host, change, defer }: IssueContext,
  app: Compose,
  proxy: WebProxy | undefined,
): Promise<(() => Promise<void>) | undefined> {
  const { serveWebroot, webserver } = await import('../../lib/server/challenge.ts');
  const { ACME_WEBROOT: webroot, PROXY_SERVICE: service } = settings;
  // One that is restarted again and again takes the port for a moment each time.
  const stop = proxy?.started ? [app.command('stop', service)] : [];
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
async function probeChallenges(context: IssueContext): Promise<void> {
  const { settings, report, dryRun } = context;
  const { Failure, throwAll } = await import('../../lib/failure.ts');
  const { probe } = await import('../../lib/server/challenge.ts');
  if (dryRun)
    return report.info(`would: check that ${settings.DOMAIN.join(', ')} serve ${settings.ACME_WEBROOT}`);
  const challenges = await report.step('check that challenges are served', () => probe(context));
  throwAll(
    challenges.flatMap(({ name, problem }) =>
      problem ? [new Failure(`${name}: ${problem.found}`, { next: problem.todo })] : [],
    ),
  );
}
