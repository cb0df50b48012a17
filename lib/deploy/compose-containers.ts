import { setTimeout as sleep } from 'node:timers/promises';
import { type Command, CommandFailure, cmd } from '../command.ts';
import { Failure } from '../failure.ts';
import { count, duration } from '../format.ts';
import { redact } from '../secret.ts';
import type { Host } from '../shell.ts';
import { type ComposeApp, type Model, servicesOf } from './compose-app.ts';
import { type DeploymentRecord, type Pin, type Release, sameImages } from './deployment.ts';
import { parseImage } from './settings.ts';

/** A container as `docker inspect` describes it. */
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

const INSPECT = ['docker', 'inspect', '--type', 'container'] as const;

/** One that is gone makes inspect fail, and it prints the others all the same. */
const INSPECT_ALL = `ids=$(docker ps --all --quiet --no-trunc "$@") || exit
[ -n "$ids" ] || exit 0
${INSPECT.join(' ')} $ids 2>/dev/null || true`;

/** The containers of some services, those of one-off commands left out, oldest first. */
export async function containersOf(
  app: ComposeApp,
  project: string,
  services: readonly string[],
): Promise<Container[]> {
  const labels = [`label=${LABEL}.project=${project}`, `label=${LABEL}.oneoff=False`];
  const filters = labels.flatMap((one) => ['--filter', one]);
  const text = await app.host.run(cmd`sh -c ${INSPECT_ALL} containers ${filters}`);
  return parsed(text)
    .filter(({ service }) => services.includes(service))
    .reverse();
}

/** Those of the containers that still are there; without a shell, which a developer's machine may lack. */
export async function inspect(host: Host, ids: readonly string[]): Promise<Container[]> {
  if (ids.length === 0) return [];
  try {
    return parsed(await host.run(cmd`${INSPECT} ${ids}`));
  } catch (error) {
    if (!(error instanceof CommandFailure) || !/no such/i.test(error.stderr)) throw error;
    return ids.length === 1 ? [] : (await Promise.all(ids.map((id) => inspect(host, [id])))).flat();
  }
}

const parsed = (text: string): Container[] =>
  text === '' ? [] : (JSON.parse(text) as Inspected[]).map(container);

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

/** The end of what a container wrote, and what its health check said. */
export async function lastLines(
  host: Host,
  { id, name, status, exitCode, health }: Container,
): Promise<string[]> {
  const text = await host.run(cmd`sh -c ${'docker logs --tail 20 "$1" 2>&1 || true'} logs ${id}`);
  const state = health ? `${status}, ${health.status}` : status;
  const lines = text.trimEnd().split('\n');
  return [
    `${name} (${state}, exit code ${exitCode}) wrote last:`,
    ...lines.map((line) => `  ${redact(line)}`),
    ...(health?.said ? [`its health check said: ${redact(firstLine(health.said))}`] : []),
  ];
}

/** Ends and removes them; one that is not there is no failure. */
export const removeCommand = (ids: readonly string[]): Command => cmd`docker rm --force --volumes ${ids}`;

/** So often may a container crash while it starts, as one does that waits for its database by failing. */
const CRASHES = 3;
const POLL_MS = 200;
const SLOWEST_POLL_MS = 1000;

/** The longer it takes, the less it matters to see it at once; each check is work for the host that starts the app. */
const pause = (since: number, signal: AbortSignal): Promise<void> =>
  sleep(Math.min(POLL_MS + (Date.now() - since) / 20, SLOWEST_POLL_MS), undefined, { signal });

export interface Patience {
  /** How long they may take until all are healthy, in milliseconds. */
  timeoutMs: number;
  /** For how long all have to stay so. */
  healthyForMs: number;
  signal: AbortSignal;
}

/** The state of some containers, taken together. */
export type State =
  | { is: 'healthy' }
  /** This may change: the container, and what its health check said last. */
  | { is: 'starting'; what: string }
  /** This will not. */
  | { is: 'broken'; what: string };

/** A one-shot that did its work. */
const isDone = ({ status, exitCode, restartPolicy }: Container) =>
  status === 'exited' && exitCode === 0 && /^(no|on-failure|)$/.test(restartPolicy);

/** Broken as soon as one is; healthy when all are that do not end by themselves. */
export function stateOf(containers: readonly Container[]): State {
  const waited = containers.filter((one) => !isDone(one));
  const [what] = waited.flatMap((one) => misfortune(one) ?? []);
  if (what) return { is: 'broken', what };
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
    const { state, restarts } = await check(host, ids);
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
    const { state, restarts } = await check(host, ids);
    const what = restarts > restartsBefore ? 'a new container crashed' : state.is !== 'healthy' && state.what;
    if (what) throw new Failure(`${what}, after it had been healthy for ${duration(Date.now() - since)}`);
  }
}

/** @throws Failure when one is gone */
async function check(host: Host, ids: readonly string[]): Promise<{ state: State; restarts: number }> {
  const all = await inspect(host, ids);
  if (all.length < ids.length)
    throw new Failure(`${ids.length - all.length} of the new containers were removed by somebody else`);
  return { state: stateOf(all), restarts: all.reduce((sum, one) => sum + one.restarts, 0) };
}

/** Containers by service. */
export type Running = ReadonlyMap<string, readonly Container[]>;

/** The containers of the app's images, by service. */
export async function appContainers(app: ComposeApp, model: Model): Promise<Running> {
  const services = [...servicesOf(model, app.settings.IMAGE).keys()];
  const all = await containersOf(app, model.name, services);
  return new Map(services.map((name) => [name, all.filter(({ service }) => service === name)]));
}

/** What runs, if each service runs one image and every one runs; named as the records name it. */
export function runningRelease(containers: Running, known: readonly Release[]): Release | undefined {
  const images: Record<string, Pin> = {};
  for (const [service, all] of containers) {
    const [first] = all;
    const isWhole = all.every(({ status, imageId }) => status === 'running' && imageId === first?.imageId);
    if (!first || !isWhole) return undefined;
    images[service] = { reference: first.image, id: first.imageId };
  }
  const found = { version: versionOf(Object.values(images)), images };
  return known.findLast((one) => sameImages(one, found)) ?? found;
}

/** For images that no record knows, their tags are the best name there is. */
const versionOf = (pins: readonly Pin[]): string => [...new Set(pins.map(tagOf))].join(' and ') || 'nothing';

function tagOf({ reference, id }: Pin): string {
  const short = id.slice(7, 19);
  try {
    return parseImage(reference).tag ?? short;
  } catch {
    return short;
  }
}

/** What each service runs, for a person. */
export function describeContainers(containers: Running, known: readonly DeploymentRecord[]): string {
  const name = (one: Container) => {
    const record = known.findLast((record) => record.images[one.service]?.id === one.imageId);
    const state = one.status === 'running' ? '' : ` (${one.status})`;
    return `${record?.version ?? one.image}${state}`;
  };
  return [...containers]
    .map(([service, all]) => `${service} runs ${[...new Set(all.map(name))].join(' and ') || 'nothing'}`)
    .join(', ');
}
