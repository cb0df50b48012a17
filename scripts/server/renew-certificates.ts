import { script } from '../../lib/script.ts';
import type { Lineage } from '../../lib/server/certbot.ts';
import { certificateSettings } from '../../lib/server/certificate-settings.ts';

await script(import.meta, {
  does: 'Renew the certificates that are due, reload the proxy, and check that it serves them',
  step: 'Renew certificates, twice a day',
  example: 'npx tsx scripts/server/renew-certificates.ts --env-file /opt/bloaty/.env',
  settings: certificateSettings,
  changes: true,
  async run(context) {
    const { settings, host, report, change, dryRun } = context;
    const certbot = await import('../../lib/server/certbot.ts');
    const { compose } = await import('../../lib/compose.ts');
    const { Failure } = await import('../../lib/failure.ts');
    const { describeRemaining } = await import('../../lib/server/certificate.ts');
    const { deliver, deliveriesOf, findProxy, reload } = await import('../../lib/server/proxy.ts');
    const service = settings.PROXY_SERVICE;
    const now = new Date();

    const app = compose(host, settings.APP_DIR, settings);
    const proxy = await findProxy(host, app, service);
    if (proxy?.kind === 'caddy') return;
    await certbot.checkCertbot(host, false);
    for (const { found, todo } of certbot.describeOthers(await certbot.readSchedule(host)))
      report.warn(`${found}. Next: ${todo}`);
    const own = certbot.certificateName(settings);
    const before = await certbot.readLineages(host);
    if (!before.get(own)?.certificate)
      throw new Failure(`there is no certificate for ${own}`, { next: 'run issue-certificate' });
    if (dryRun) {
      const commands = [certbot.renew, reload(app, service)];
      await change('renew what is due', commands, async () => {});
      return;
    }

    // Not a step: cron prints nothing where nothing was due.
    const failure = await certbot.runCertbot(host, certbot.renew).then(
      () => undefined,
      (error: unknown) => (error instanceof Failure ? error : Promise.reject(error)),
    );
    const after = [...(await certbot.readLineages(host)).values()];
    const isRenewed = ({ name, certificate }: Lineage) =>
      certificate?.fingerprint !== before.get(name)?.certificate?.fingerprint;
    for (const { name, certificate } of after.filter(isRenewed))
      report.info(`~ certificate ${name}: ${certificate ? describeRemaining(certificate, now) : ''}`);

    // What was renewed is delivered even when another renewal failed; the reload is a step of its own, since certbot
    // forgives a hook that fails. A lineage is checked by one of its names: all of them are in the one file.
    const due = after.filter((lineage) => lineage.name === own || isRenewed(lineage));
    const deliveries = due.flatMap((lineage) =>
      deliveriesOf(lineage, lineage.certificate?.names.slice(0, 1) ?? []),
    );
    await deliver(context, app, service, deliveries);
    if (failure) throw failure;
  },
});
