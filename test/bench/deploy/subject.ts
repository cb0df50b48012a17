import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { AppWorld } from '../../sandbox/apps/compose-app.ts';
import { docker } from '../../sandbox/machine/docker.ts';
import type { Engine } from '../../sandbox/machine/engine.ts';

/** An app of the sandbox that versions are deployed to. */
export interface Subject {
  name: string;
  proxy: string;
  dir: string;
  url: string;
  engine: Engine;
  /** What scripts and compose run with: nothing but this tells them where the app is. */
  env: Record<string, string>;
}

const IMAGE = 'sandbox/web';

export async function subject(
  name: string,
  proxy: string,
  { host, dir, url }: AppWorld,
  base: Record<string, string>,
): Promise<Subject> {
  const engine = { host: host.dockerHost, ours: false };
  const made: Subject = {
    ...{ name, proxy, dir, url, engine },
    env: {
      ...base,
      ...{
        DOCKER_HOST: host.dockerHost,
        APP: name,
        APP_DIR: dir,
        COMPOSE_FILE: join(dir, 'docker-compose.yml'),
        IMAGE,
      },
      ...{ ROLLOUT_SERVICES: 'web', HEALTHY_FOR: '0', HEALTH_TIMEOUT: '60' },
      ...{ HEALTH_URL: `${url}/health`, VERSION_URL: `${url}/api/version` },
    },
  };
  return made;
}

/** An image of a version that the host does not have yet: what was built last is never what runs. */
export async function image({ engine }: Subject, version: string, changes: string[] = []): Promise<void> {
  const id = (await docker(engine, ['create', `${IMAGE}:1.0.0`])).trim();
  const all = [`ENV APP_VERSION=${version}`, ...changes].flatMap((change) => ['--change', change]);
  await docker(engine, ['commit', ...all, id, `${IMAGE}:${version}`]);
  await docker(engine, ['rm', id]);
}

/** The web container that runs. */
async function web({ engine, name }: Subject): Promise<string> {
  const filters = [`label=com.docker.compose.project=${name}`, 'label=com.docker.compose.service=web'];
  const text = await docker(engine, ['ps', '--quiet', ...filters.flatMap((one) => ['--filter', one])]);
  return text.split('\n')[0] ?? '';
}

/** Seconds from the start of the app's process until its health check passed, as Docker has it. */
export async function startUp(subject: Subject): Promise<number> {
  const format = '{{json .State}}';
  const state = JSON.parse(
    await docker(subject.engine, ['inspect', '--format', format, await web(subject)]),
  ) as {
    StartedAt: string;
    Health: { Log: Array<{ ExitCode: number; End: string }> };
  };
  const first = state.Health.Log.find(({ ExitCode }) => ExitCode === 0);
  return (Date.parse(first?.End ?? '') - Date.parse(state.StartedAt)) / 1000;
}

/** A health check that makes up its mind in seconds, as a compose file of its own; @returns the settings to use it */
export async function quickVerdict({ dir, env }: Subject): Promise<Record<string, string>> {
  const file = join(dir, 'quick.yml');
  const healthcheck = { interval: '1s', start_interval: '1s', start_period: '1s', retries: 2 };
  await writeFile(file, JSON.stringify({ services: { web: { healthcheck } } }));
  return { ...env, COMPOSE_FILE: `${env.COMPOSE_FILE}:${file}` };
}

/** When Docker called a container unhealthy, in milliseconds of the epoch. */
export async function verdict({ engine }: Subject, since: number, until: number): Promise<number> {
  const span = ['--since', String(since / 1000), '--until', String(until / 1000)];
  const filters = ['--filter', 'event=health_status', '--format', '{{json .}}'];
  const lines = (await docker(engine, ['events', ...span, ...filters])).split('\n').filter(Boolean);
  const events = lines.map(
    (line) => JSON.parse(line) as { Action?: string; status?: string; timeNano: number },
  );
  const found = events.find(({ Action, status }) => /unhealthy/.test(Action ?? status ?? ''));
  if (!found) throw new Error('Docker called no container unhealthy');
  return found.timeNano / 1e6;
}
