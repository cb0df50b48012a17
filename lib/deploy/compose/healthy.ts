import { setTimeout as sleep } from 'node:timers/promises';
import { Failure } from '../../failure.ts';
import { count, duration } from '../../format.ts';
import type { Host } from '../../host.ts';
import { type Container, inspect } from './containers.ts';

/** So often may a container crash while it starts, as one does that waits for its database by failing. */
const CRASHES = 3;
const POLL_MS = 200;
const SLOWEST_POLL_MS = 1000;

/** The longer it takes, the less it matters to see it at once; each look is work for the host that starts the app. */
const pause = (since: number, signal: AbortSignal): Promise<void> =>
  sleep(Math.min(POLL_MS + (Date.now() - since) / 20, SLOWEST_POLL_MS), undefined, { signal });

export interface Patience {
  /** How long they may take until all are healthy, in milliseconds. */
  timeoutMs: number;
  /** For how long all have to stay so. */
  healthyForMs: number;
  signal: AbortSignal;
}

/** How some containers are, taken together. */
export type State =
  | { is: 'healthy' }
  /** This may change: the container, and what its health check said last. */
  | { is: 'starting'; what: string }
  /** This will not. */
  | { is: 'broken'; what: string };

/** A one-shot that did its work. */
const isDone = ({ status, exitCode, restartPolicy }: Container) =>
  status === 'exited' && exitCode === 0 && /^(no|on-failure|)$/.test(restartPolicy);

export function stateOf(containers: readonly Container[]): State {
  const waited = containers.filter((one) => !isDone(one));
  for (const one of waited) {
    const what = misfortune(one);
    if (what) return { is: 'broken', what };
  }
  const [late] = waited.filter(
    (one) => one.status !== 'running' || (one.health?.status ?? 'healthy') !== 'healthy',
  );
  if (!late) return { is: 'healthy' };
  const said = late.health?.said ? `; its health check says: ${firstLine(late.health.said)}` : '';
  return { is: 'starting', what: `${late.name} is ${late.health?.status ?? late.status}${said}` };
}

/** What is wrong with a container beyond hope, if something is. */
function misfortune({ name, status, exitCode, restarts, health }: Container): string | undefined {
  if (restarts >= CRASHES || (restarts > 0 && health?.status === 'unhealthy'))
    return `${name} crashed ${count(restarts, 'time')}`;
  if (health?.status === 'unhealthy')
    return `${name} is unhealthy${health.said ? `: ${firstLine(health.said)}` : ''}`;
  if (status === 'exited' || status === 'dead') return `${name} ended with exit code ${exitCode}`;
  return undefined;
}

const firstLine = (text: string) => text.split('\n')[0] ?? '';

/**
 * Waits until containers are healthy, by their own health checks, and have stayed so for some time.
 * @throws Failure that names the one that is not, as soon as that is certain
 */
export async function awaitHealthy(
  host: Host,
  ids: readonly string[],
  { timeoutMs, healthyForMs, signal }: Patience,
): Promise<void> {
  const started = Date.now();
  for (;;) {
    const { state, restarts } = await look(host, ids);
    if (state.is === 'broken') throw new Failure(state.what);
    if (state.is === 'healthy') return stayHealthy(host, ids, restarts, { healthyForMs, signal });
    if (Date.now() > started + timeoutMs)
      throw new Failure(`after ${duration(timeoutMs)} (HEALTH_TIMEOUT) ${state.what}`);
    await pause(started, signal);
  }
}

async function stayHealthy(
  host: Host,
  ids: readonly string[],
  restartsBefore: number,
  { healthyForMs, signal }: Pick<Patience, 'healthyForMs' | 'signal'>,
): Promise<void> {
  const since = Date.now();
  while (Date.now() - since < healthyForMs) {
    await pause(since, signal);
    const { state, restarts } = await look(host, ids);
    const what = restarts > restartsBefore ? 'a new container crashed' : state.is !== 'healthy' && state.what;
    if (what) throw new Failure(`${what}, after it had been healthy for ${duration(Date.now() - since)}`);
  }
}

async function look(host: Host, ids: readonly string[]): Promise<{ state: State; restarts: number }> {
  const all = await inspect(host, ids);
  if (all.length < ids.length)
    throw new Failure(`${ids.length - all.length} of the new containers were removed by somebody else`);
  return { state: stateOf(all), restarts: all.reduce((sum, one) => sum + one.restarts, 0) };
}
