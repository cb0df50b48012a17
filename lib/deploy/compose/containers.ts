import { type Command, CommandFailure } from '../../command.ts';
import type { Host } from '../../host.ts';
import { redact } from '../../redact.ts';
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
  const text = await app.host.run({ argv: ['sh', '-c', INSPECT_ALL, 'containers', ...filters] });
  return parsed(text)
    .filter(({ service }) => services.includes(service))
    .reverse();
}

/** Those of the containers that still are there; without a shell, which a developer's machine may lack. */
export async function inspect(host: Host, ids: readonly string[]): Promise<Container[]> {
  if (ids.length === 0) return [];
  try {
    return parsed(await host.run({ argv: [...INSPECT, ...ids] }));
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
  const text = await host.run({ argv: ['sh', '-c', 'docker logs --tail 20 "$1" 2>&1 || true', 'logs', id] });
  const state = health ? `${status}, ${health.status}` : status;
  return [
    `${name} (${state}, exit code ${exitCode}) wrote last:`,
    ...text
      .trimEnd()
      .split('\n')
      .map((line) => `  ${redact(line)}`),
    ...(health?.said ? [`its health check said: ${redact(health.said.split('\n')[0] ?? '')}`] : []),
  ];
}

/** Ends and removes them; one that is not there is no failure. */
export const removeCommand = (ids: readonly string[]): Command => ({
  argv: ['docker', 'rm', '--force', '--volumes', ...ids],
});
