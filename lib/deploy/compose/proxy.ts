import { setTimeout as sleep } from 'node:timers/promises';
import { CommandFailure } from '../../command.ts';
import { Failure } from '../../failure.ts';
import type { ComposeApp, Model } from './app.ts';
import { containersOf } from './containers.ts';

const RELOAD_MS = 10_000;
const POLL_MS = 50;

/** An nginx that looks the names of services up when it starts, and never again until it is reloaded. */
interface Proxy {
  container: string;
}

/**
 * The proxies of the app that have to be told of new containers. Those that look a name up at each request or
 * connection (Caddy, nginx with a `resolver`), or that listen to Docker (Traefik), find them by themselves.
 * @throws Failure when such a proxy could not be reloaded, because its configuration is not valid
 */
export async function proxiesOf(app: ComposeApp, model: Model, rollout: readonly string[]): Promise<Proxy[]> {
  const fronts = Object.keys(model.services).filter(
    (name) => !rollout.includes(name) && (model.services[name]?.ports ?? []).length > 0,
  );
  const found: Proxy[] = [];
  for (const { id, name, status } of await containersOf(app, model.name, fronts)) {
    if (status !== 'running') continue;
    const configuration = await nginxConfiguration(app, id, name);
    if (rollout.some((service) => namesOnce(configuration, service))) found.push({ container: id });
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

/** All of an nginx's configuration; nothing for what is no nginx. */
async function nginxConfiguration(app: ComposeApp, id: string, name: string): Promise<string> {
  try {
    const text =
      'command -v nginx >/dev/null || exit 0; nginx -T 2>/tmp/opsbook-nginx || { cat /tmp/opsbook-nginx >&2; exit 1; }';
    return await app.host.run({ argv: ['docker', 'exec', id, 'sh', '-c', text] });
  } catch (error) {
    if (!(error instanceof CommandFailure)) throw error;
    // A container without a shell has no nginx that we could reload either.
    if (error.code === 126 || error.code === 127) return '';
    throw new Failure(`${name} could not be reloaded, its configuration is not valid: ${error.words}`, {
      next: `correct it; docker exec ${name} nginx -t says whether it is`,
      cause: error,
    });
  }
}

/** Lets the proxies look the names up again; ends when new workers take the requests. */
export async function reload(app: ComposeApp, proxies: readonly Proxy[], signal: AbortSignal): Promise<void> {
  for (const { container } of proxies) {
    const before = await workers(app, container);
    await app.host.run({ argv: ['docker', 'exec', container, 'nginx', '-s', 'reload'] });
    const deadline = Date.now() + RELOAD_MS;
    while (!(await workers(app, container)).some((pid) => !before.includes(pid))) {
      if (Date.now() > deadline) throw new Failure('nginx did not reload; its log says why');
      await sleep(POLL_MS, undefined, { signal });
    }
  }
}

async function workers(app: ComposeApp, container: string): Promise<string[]> {
  const text = await app.host.run({ argv: ['docker', 'top', container, '-eo', 'pid,args'] });
  return text
    .split('\n')
    .filter((line) => /nginx: worker process\s*$/.test(line))
    .map((line) => line.trim().split(/\s+/)[0] ?? '');
}
