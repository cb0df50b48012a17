import { Failure } from '../../failure.ts';
import type { Context } from '../../script.ts';
import { checkCertbot, renew, runCertbot } from './certbot.ts';
import { describeRemaining } from './certificate.ts';
import { type Delivery, deliver } from './deliver.ts';
import { type Lineage, readLineages } from './lineage.ts';
import { findProxy, reload } from './proxy.ts';
import { describeOthers, readSchedule } from './schedule.ts';
import type { certificateSettings } from './settings.ts';
import { certificateName, siteOf } from './site.ts';

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
