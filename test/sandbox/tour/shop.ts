import { cp, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { exports } from '../env.ts';
import { appDir } from '../hosts/host.ts';
import { checkout, directory, SandboxError } from '../names.ts';
import { answers, waitFor } from '../wait.ts';
import type { World } from '../world.ts';

const APP = 'shop';
const IMAGE = 'shop/web';
/** The files of the app that deployments are tested with: web, worker, PostgreSQL, Redis, and nginx before them. */
const files = join(checkout, 'test/deploy/app');
const COMPOSE_FILE = 'docker-compose.yml:nginx.yml';

/** An app of the tour's own, beside bloaty on its host. */
export interface Shop {
  /** The settings of the scripts for it. */
  env: Record<string, string>;
  url: string;
  /** Makes an image of a version; `change` is an instruction of a Dockerfile. */
  image(version: string, ...change: string[]): Promise<void>;
  /** Which version answers through nginx. */
  answered(): Promise<string | undefined>;
}

/** Its files on the host and its settings; nothing runs yet. What an earlier tour left is removed. */
export async function openShop(world: World): Promise<Shop> {
  const { bloaty } = world;
  if (!bloaty) throw new SandboxError('bloaty is not up');
  const dir = appDir(bloaty.host.name, APP);
  const sandbox = exports(world);
  const tool = { DOCKER_HOST: bloaty.host.dockerHost, DOCKER_CONFIG: sandbox['DOCKER_CONFIG'] };
  const docker = (...args: string[]) => execa('docker', args, { env: { ...tool, COMPOSE_FILE: undefined } });
  await docker('compose', '--project-name', APP, 'down', '--volumes', '--timeout', '0');
  await rm(dir, { recursive: true, force: true });
  directory(dir);
  for (const file of ['docker-compose.yml', 'app.env', 'nginx.yml', 'nginx.conf'])
    await cp(join(files, file), join(dir, file));
  await writeFile(join(dir, '.env'), `IMAGE='${IMAGE}'\n`);

  const url = `http://127.0.0.1:${bloaty.host.ports[443]}`;
  const version = `${url}/api/version`;
  return {
    url,
    env: {
      ...(sandbox['DOCKER_CONFIG'] ? { DOCKER_CONFIG: sandbox['DOCKER_CONFIG'] } : {}),
      ...{ DOCKER_HOST: bloaty.host.dockerHost, APP, APP_DIR: dir, COMPOSE_FILE, IMAGE },
      ...{ ROLLOUT_SERVICES: 'web', HEALTH_URL: `${url}/health`, VERSION_URL: version },
      ...{ HEALTH_TIMEOUT: '30', HEALTHY_FOR: '2' },
    },
    async image(name, ...change) {
      const { stdout: made } = await docker('create', 'sandbox/web:1.0.0');
      const changes = [`ENV APP_VERSION=${name}`, ...change].flatMap((one) => ['--change', one]);
      await docker('commit', ...changes, made, `${IMAGE}:${name}`);
      await docker('rm', made);
    },
    async answered() {
      await waitFor(`${version} to answer`, 10, () => answers(version));
      const told = (await (await fetch(version)).json()) as { version?: string };
      return told.version;
    },
  };
}
