import { setTimeout as sleep } from 'node:timers/promises';
import { Failure } from '../../failure.ts';
import { count, duration } from '../../format.ts';
import type { Host } from '../../host.ts';
import type { ComposeApp } from './app.ts';

/** A container as `docker inspect` tells of it. */
export interface Container {
  id: string;
  name: string;
  service: string;
  imageId: string;
  /** As the compose files called it. */
  image: string;
  /** Compose's own hash of the configuration that it was made with. */
  hash: string;
  status: string;
  exitCode: number;
  restarts: number;
  restartPolicy: string;
  /** Absent where no health check is defined. */
  health?: { status: string; said: string };
}

interface Inspected {
  Id: string;
  Name: string;
  Image: string;
  RestartCount: number;
  State: {
    Status: string;
    ExitCode: number;
    Health?: { Status: string; Log?: Array<{ Output: string }> | null };
  };
  Config: { Image: string; Labels: Record<string, string> };
  HostConfig: { RestartPolicy: { Name: string } };
}

const LABEL = 'com.docker.compose';

/** The containers of some services, those of one-off commands left out, oldest first. */
export async function containersOf(
  app: ComposeApp,
  project: string,
  services: readonly string[],
): Promise<Container[]> {
  const filters = [`label=${LABEL}.project=${project}`, `label=${LABEL}.oneoff=False`];
  const text = await app.host.run({
    argv: ['docker', 'ps', '--all', '--quiet', '--no-trunc', ...filters.flatMap((one) => ['--filter', one])],
  });
  const all = await inspect(app.host, text.split('\n').filter(Boolean));
  return all.filter(({ service }) => services.includes(service)).reverse();
}

/** Those of the containers that still are there. */
export async function inspect(host: Host, ids: readonly string[]): Promise<Container[]> {
  if (ids.length === 0) return [];
  // One that is gone makes inspect fail, and it prints the others all the same.
  const text = await host.run({
    argv: ['sh', '-c', 'docker inspect "$@" 2>/dev/null || true', 'inspect', '--type', 'container', ...ids],
  });
  return (JSON.parse(text) as Inspected[]).map(container);
}

function container({ Id, Name, Image, RestartCount, State, Config, HostConfig }: Inspected): Container {
  const { Labels: labels } = Config;
  return {
    ...{ id: Id, name: Name.slice(1), imageId: Image, image: Config.Image, restarts: RestartCount },
    service: labels[`${LABEL}.service`] ?? '',
    hash: labels[`${LABEL}.config-hash`] ?? '',
    ...{ status: State.Status, exitCode: State.ExitCode, restartPolicy: HostConfig.RestartPolicy.Name },
    ...(State.Health
      ? { health: { status: State.Health.Status, said: (State.Health.Log?.at(-1)?.Output ?? '').trim() } }
      : {}),
  };
}

/** So often may a container crash while it starts, as one does that waits for its database by failing. */
const CRASHES = 3;
const POLL_MS = 200;

/** A one-shot that did its work. */
const isDone = ({ status, exitCode, restartPolicy }: Container) =>
  status === 'exited' && exitCode === 0 && /^(no|on-failure|)$/.test(restartPolicy);

/** What is wrong with a container beyond hope, if something is. */
function verdict({ name, status, exitCode, restarts, health }: Container): string | undefined {
  if (health?.status === 'unhealthy' && restarts > 0)
    return `${name} crashed ${count(restarts, 'time')}, and is unhealthy`;
  if (health?.status === 'unhealthy')
    return `${name} is unhealthy${health.said ? `: ${firstLine(health.said)}` : ''}`;
  if (restarts >= CRASHES) return `${name} crashed ${restarts} times, with exit code ${exitCode}`;
  if (status === 'exited' || status === 'dead') return `${name} ended with exit code ${exitCode}`;
  return undefined;
}

const firstLine = (text: string) => text.split('\n')[0] ?? '';

interface Patience {
  /** How long they may take until all are healthy, in milliseconds. */
  timeoutMs: number;
  /** For how long all have to stay so. */
  healthyForMs: number;
  signal: AbortSignal;
  note?: ((text: string) => void) | undefined;
}

/**
 * Waits until containers are healthy, by their own health check, and have stayed so for some time.
 * @throws Failure that names the one that is not, as soon as that is certain
 */
export async function awaitHealthy(host: Host, ids: readonly string[], patience: Patience): Promise<void> {
  const { timeoutMs, healthyForMs, signal } = patience;
  const started = Date.now();
  let since: number | undefined;
  let crashes = 0;
  for (;;) {
    const all = await inspect(host, ids);
    const now = Date.now();
    const lost = ids.length - all.length;
    if (lost > 0) throw new Failure(`${lost} of ${ids.length} new containers were removed by somebody else`);
    const waiting = all.filter((one) => !isDone(one) && (one.health?.status ?? 'healthy') !== 'healthy');
    const wrong = all
      .filter((one) => !isDone(one))
      .map(verdict)
      .find(Boolean);
    const restarts = all.reduce((sum, one) => sum + one.restarts, 0);
    if (since !== undefined && (wrong || restarts > crashes))
      throw new Failure(
        `${wrong ?? 'a new container restarted'}, after it had been healthy for ${duration(now - since)}`,
      );
    if (wrong) throw new Failure(wrong);
    const unstarted = all.filter((one) => !isDone(one) && one.status !== 'running');
    if (waiting.length === 0 && unstarted.length === 0) {
      if (since === undefined) [since, crashes] = [now, restarts];
      if (now - since >= healthyForMs) return;
    } else if (since === undefined && now - started > timeoutMs) {
      const last = [...waiting, ...unstarted][0];
      const said = last?.health?.said ? `, its health check says: ${firstLine(last.health.said)}` : '';
      throw new Failure(
        `${last?.name} was not healthy within HEALTH_TIMEOUT (${duration(timeoutMs)})${said}`,
      );
    }
    await sleep(POLL_MS, undefined, { signal });
  }
}

/** The end of what a container wrote, and what its health check said. */
export async function lastLines(
  host: Host,
  { id, name, status, exitCode, health }: Container,
): Promise<string[]> {
  const text = await host.run({ argv: ['sh', '-c', 'docker logs --tail 20 "$1" 2>&1 || true', 'logs', id] });
  const state = health ? `${status}, ${health.status}` : status;
  return [
    `${name} (${state}, exit code ${exitCode}) wrote last:`,
    ...text
      .trimEnd()
      .split('\n')
      .map((line) => `  ${line}`),
    ...(health?.said ? [`its health check said: ${firstLine(health.said)}`] : []),
  ];
}
