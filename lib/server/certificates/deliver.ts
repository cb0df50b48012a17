import { CommandFailure } from '../../command.ts';
import { Failure } from '../../failure.ts';
import type { Context } from '../../script.ts';
import type { Certificate } from './certificate.ts';
import { fullchain } from './lineage.ts';
import { reload } from './proxy.ts';
import { awaitServed, type Served, served } from './served.ts';
import type { Site } from './site.ts';

/** A certificate that is in its file and not on the wire; `nothing` when port 443 does not speak TLS at all. */
export class Undelivered extends Failure {
  readonly nothing: boolean;

  constructor(message: string, nothing: boolean, options: { next: string; cause?: unknown }) {
    super(message, options);
    this.name = 'Undelivered';
    this.nothing = nothing;
  }
}

/** What has to be served: a name, and the certificate in its lineage's file. */
export interface Delivery {
  lineage: string;
  name: string;
  certificate: Certificate;
}

/**
 * Reloads the proxy when it serves another certificate than the file's, and sees that it then serves that one: a
 * renewal is done when a browser gets it.
 * @throws Undelivered when the proxy does not reload, or goes on with another certificate
 */
export async function deliver(
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
