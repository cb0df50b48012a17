import { setTimeout as sleep } from 'node:timers/promises';
import { type Command, CommandFailure } from '../command.ts';
import { type Compose, parseListing } from '../compose.ts';
import type { Context } from '../definition.ts';
import { Failure } from '../failure.ts';
import type { Host } from '../shell.ts';
import { fullchain, type Lineage } from './certbot.ts';
import { type Certificate, type Served, served } from './certificate.ts';

/** A directory of the host, or a volume, in a container. */
interface Mount {
  Name?: string;
  Source: string;
  Destination: string;
}

/** What `docker inspect` tells of a container, as far as we ask. */
interface Inspected {
  Path: string;
  Args: string[];
  RestartCount: number;
  State: { Running: boolean; Restarting: boolean; StartedAt: string };
  Config: { Env: string[] | null };
  Mounts: Mount[];
}

/** The container that serves the certificate. */
export interface WebProxy {
  kind: 'nginx' | 'caddy';
  /** Docker runs it, or tries to again and again. */
  started: boolean;
  /** It runs, and not only until it finds again that it cannot. */
  steady: boolean;
  /** It was restarted a moment ago: whether it is steady shows soon. */
  fresh: boolean;
  mounts: Mount[];
  /** Where a Caddy keeps its certificates. */
  dataDirectory: string;
}

/** Restarted and younger than this, a container may be one that Docker will restart again: that is waited for. */
const STEADY_MS = 5000;
const POLL_MS = 500;

/** @returns undefined when the service has no container @throws Failure when Compose does not know the service */
export async function findProxy(host: Host, app: Compose, service: string): Promise<WebProxy | undefined> {
  // Asked first for its errors: of a wrong name, or of Docker.
  const running = await app.container(service);
  const name =
    running ?? parseListing(await host.run(app.command('ps', '--all', '--format', 'json', service)))[0]?.Name;
  if (!name) return undefined;
  // Counted, too: the clock of a host may be wrong.
  for (let waited = 0; ; waited += POLL_MS) {
    const inspected = await host.$`docker inspect --format ${'{{json .}}'} ${name}`.json<Inspected>();
    const found = proxyOf(inspected, Date.now());
    if (!found.fresh || waited >= STEADY_MS) return found;
    await sleep(POLL_MS);
  }
}

/** What an inspected container is to us; `now` in milliseconds. */
export function proxyOf(
  { Path, Args, RestartCount, State, Config, Mounts }: Inspected,
  now: number,
): WebProxy {
  const program = [Path, ...Args].find((word) => /(^|\/)(nginx|caddy)$/.test(word)) ?? '';
  const steady = State.Running && !State.Restarting;
  const env = new Map((Config.Env ?? []).map((line) => line.split('=', 2) as [string, string]));
  return {
    kind: program.endsWith('caddy') ? 'caddy' : 'nginx',
    started: State.Running || State.Restarting,
    steady,
    fresh: steady && RestartCount > 0 && now - Date.parse(State.StartedAt) < STEADY_MS,
    mounts: Mounts,
    dataDirectory: `${env.get('XDG_DATA_HOME') ?? `${env.get('HOME') ?? '/root'}/.local/share`}/caddy`,
  };
}

/** Whether `path` is `directory` or below it. */
export function within(path: string, directory: string): boolean {
  const root = directory.replace(/\/$/, '');
  return path === root || path.startsWith(`${root}/`);
}

/** Has nginx read its configuration and certificates again, without a terminal, as cron has none. */
export const reload = (app: Compose, service: string): Command =>
  app.command('exec', '--no-TTY', service, 'nginx', '-s', 'reload');

/** A certificate that the proxy does not serve, since it speaks no TLS on port 443 at all. */
export class NoTls extends Failure {}

/** A name, and the certificate with which it is to be served. */
interface Delivery {
  name: string;
  lineage: string;
  certificate: Certificate;
}

/** The names that are to be served with the certificate of a lineage. */
export const deliveriesOf = (lineage: Lineage | undefined, names: readonly string[]): Delivery[] =>
  names.flatMap((name) =>
    lineage?.certificate ? [{ name, lineage: lineage.name, certificate: lineage.certificate }] : [],
  );

/**
 * Reloads the proxy when it serves another certificate than the file's, and sees that it then serves that one: a
 * renewal is done when a browser gets it.
 * @throws NoTls when it serves none; Failure when it does not reload, or goes on with another certificate
 */
export async function deliver(
  { host, change, signal }: Pick<Context, 'host' | 'change' | 'signal'>,
  app: Compose,
  service: string,
  deliveries: readonly Delivery[],
): Promise<void> {
  const before = await Promise.all(deliveries.map(({ name }) => served(name, signal)));
  const stale = deliveries.filter((delivery, i) => !isServed(delivery, before[i]!));
  if (stale.length === 0) return;
  const command = reload(app, service);
  await change(`reload ${service}`, [command], async (step) => {
    await host.run(command).catch((error: unknown) => Promise.reject(notReloaded(error, service)));
    const after = await Promise.all(stale.map((delivery) => awaitServed(delivery, signal)));
    for (const [i, delivery] of stale.entries()) refuseOther(delivery, after[i]!, service);
    step.note(`serves the certificate of ${stale.map(({ name }) => name).join(', ')}`);
  });
}

const isServed = ({ certificate }: Delivery, now: Served): boolean =>
  now.certificate?.fingerprint === certificate.fingerprint;

/** A reload returns before the workers with the new certificate have taken over; a port that is closed stays so. */
const TAKES_OVER_MS = 10_000;
const OPENS_MS = 3000;

/** Waits until the name is served with its certificate; resolves to what is served in the end. */
async function awaitServed(delivery: Delivery, signal: AbortSignal): Promise<Served> {
  const started = Date.now();
  for (;;) {
    const now = await served(delivery.name, signal);
    const patience = now.certificate ? TAKES_OVER_MS : OPENS_MS;
    if (isServed(delivery, now) || Date.now() - started > patience) return now;
    await sleep(100, undefined, { signal });
  }
}

function notReloaded(error: unknown, service: string): unknown {
  if (!(error instanceof CommandFailure)) return error;
  return new Failure(`${service} did not reload: ${error.words}`, {
    next: `correct that, see: docker compose exec ${service} nginx -t; then run renew-certificates, which reloads it`,
    cause: error,
  });
}

function refuseOther(delivery: Delivery, now: Served, service: string): void {
  if (isServed(delivery, now)) return;
  const { name, lineage } = delivery;
  const next = `let ${service} listen on port 443 with ${fullchain(lineage)}, and run issue-certificate again`;
  if (!now.certificate) throw new NoTls(`${name}: ${now.problem.found}`, { next });
  const until = now.certificate.until.toISOString().slice(0, 10);
  throw new Failure(
    `${name} is not served with the certificate in its file, but with one valid until ${until}`,
    {
      next,
    },
  );
}
