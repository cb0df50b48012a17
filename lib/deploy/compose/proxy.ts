import { setTimeout as sleep } from 'node:timers/promises';
import { CommandFailure } from '../../command.ts';
import { Failure, messageOf } from '../../failure.ts';
import type { ComposeApp, Model } from './app.ts';
import { containersOf } from './containers.ts';

const RELOAD_MS = 10_000;
const POLL_MS = 50;

/** An nginx that looks the names of services up when it starts, and never again until it is reloaded. */
interface Proxy {
  container: string;
  name: string;
  /** What runs does not depend on it: a reload that fails is told. */
  optional: boolean;
}

/**
 * The proxies of the app that have to be told of new containers of these services. Those that look a name up at each
 * request or connection (Caddy, nginx with a `resolver`), or that listen to Docker (Traefik), find them by themselves.
 * @param told what cannot be done is only told: these services are being brought back, or already run
 * @throws Failure when such a proxy could not be reloaded, because its configuration is not valid
 */
export async function proxiesOf(
  app: ComposeApp,
  model: Model,
  services: readonly string[],
  told: boolean,
): Promise<Proxy[]> {
  if (services.length === 0) return [];
  const fronts = Object.keys(model.services).filter(
    (name) => !services.includes(name) && (model.services[name]?.ports ?? []).length > 0,
  );
  const found: Proxy[] = [];
  for (const { id, name, status } of await containersOf(app, model.name, fronts)) {
    if (status !== 'running') continue;
    const configuration = await nginxConfiguration(app, id, name, told);
    const optional = told || configuration === undefined;
    if (configuration === undefined || services.some((service) => namesOnce(configuration, service)))
      found.push({ container: id, name, optional });
  }
  return found;
}

/** Whether an nginx configuration has the service's name where it is looked up only once. */
export function namesOnce(configuration: string, service: string): boolean {
  const name = service.replaceAll(/[^\w]/g, '\\$&');
  const uses = new RegExp(
    `^\\s*(?:\\w+_pass|server)\\s+(?:\\w+://)?${name}(?:[:/][^;]*)?(?:\\s[^;]*)?;`,
    'gm',
  );
  return (configuration.match(uses) ?? []).some((use) => !/\sresolve\b/.test(use));
}

/** A service that is down has no address; the nginx that names it goes on with the one that it found at its start. */
const UNRESOLVED = /host not found in upstream|could not be resolved/;

/** All of an nginx's configuration; empty for what is no nginx, undefined where it cannot be told now. */
async function nginxConfiguration(
  app: ComposeApp,
  id: string,
  name: string,
  told: boolean,
): Promise<string | undefined> {
  try {
    const text =
      'command -v nginx >/dev/null || exit 0; nginx -T 2>/tmp/opsbook-nginx || { cat /tmp/opsbook-nginx >&2; exit 1; }';
    return await app.host.run({ argv: ['docker', 'exec', id, 'sh', '-c', text] });
  } catch (error) {
    if (!(error instanceof CommandFailure)) throw error;
    // A container without a shell has no nginx that we could reload either.
    if (error.code === 126 || error.code === 127) return '';
    if (told || UNRESOLVED.test(error.stderr)) return undefined;
    throw new Failure(`${name} could not be reloaded, its configuration is not valid: ${error.words}`, {
      next: `correct it; docker exec ${name} nginx -t says whether it is`,
      cause: error,
    });
  }
}

/** Lets the proxies look the names up again. @returns what those could not be told that need not be */
export async function reloadAll(
  app: ComposeApp,
  proxies: readonly Proxy[],
  signal: AbortSignal,
): Promise<string[]> {
  const untold: string[] = [];
  for (const { container, name, optional } of proxies)
    try {
      await reload(app, container, signal);
    } catch (error) {
      signal.throwIfAborted();
      if (!optional) throw error;
      untold.push(
        `${name} was not reloaded: ${error instanceof CommandFailure ? error.words : messageOf(error)}`,
      );
    }
  return untold;
}

/** Ends when new workers take the requests. */
async function reload(app: ComposeApp, container: string, signal: AbortSignal): Promise<void> {
  const before = await workers(app, container);
  await app.host.run({ argv: ['docker', 'exec', container, 'nginx', '-s', 'reload'] });
  const deadline = Date.now() + RELOAD_MS;
  while (!(await workers(app, container)).some((pid) => !before.includes(pid))) {
    if (Date.now() > deadline) throw new Failure('nginx did not reload; its log says why');
    await sleep(POLL_MS, undefined, { signal });
  }
}

async function workers(app: ComposeApp, container: string): Promise<string[]> {
  const text = await app.host.run({ argv: ['docker', 'top', container, '-eo', 'pid,args'] });
  return text
    .split('\n')
    .filter((line) => /nginx: worker process\s*$/.test(line))
    .map((line) => line.trim().split(/\s+/)[0] ?? '');
}
