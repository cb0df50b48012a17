import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from '../../command.ts';
import { type Compose, parseListing } from '../../compose.ts';
import type { Host } from '../../host.ts';

/** A directory of the host, or a volume, in a container. */
interface Mount {
  Type: string;
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
  wanted: boolean;
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
    const text = await host.run({ argv: ['docker', 'inspect', '--format', '{{json .}}', name] });
    const found = proxyOf(JSON.parse(text) as Inspected, Date.now());
    if (!found.fresh || waited >= STEADY_MS) return found;
    await sleep(POLL_MS);
  }
}

/** What an inspected container is to us. */
export function proxyOf(
  { Path, Args, RestartCount, State, Config, Mounts }: Inspected,
  now: number,
): WebProxy {
  const program = [Path, ...Args].find((word) => /(^|\/)(nginx|caddy)$/.test(word)) ?? '';
  const age = now - Date.parse(State.StartedAt);
  const env = new Map((Config.Env ?? []).map((line) => line.split('=', 2) as [string, string]));
  return {
    kind: program.endsWith('caddy') ? 'caddy' : 'nginx',
    wanted: State.Running || State.Restarting,
    steady: State.Running && !State.Restarting,
    fresh: State.Running && !State.Restarting && RestartCount > 0 && age < STEADY_MS,
    mounts: Mounts,
    dataDirectory: `${env.get('XDG_DATA_HOME') ?? `${env.get('HOME') ?? '/root'}/.local/share`}/caddy`,
  };
}

export const reload = (app: Compose, service: string): Command =>
  // Without a terminal, as cron has none.
  app.command('exec', '--no-TTY', service, 'nginx', '-s', 'reload');

/** Whether `path` is `directory` or below it. */
export function within(path: string, directory: string): boolean {
  const root = directory.replace(/\/$/, '');
  return path === root || path.startsWith(`${root}/`);
}
