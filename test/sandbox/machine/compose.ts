import { rmSync } from 'node:fs';
import { chmod, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { cacheDir, directory, SandboxError } from '../names.ts';
import { step } from '../progress.ts';
import { docker } from './docker.ts';
import { type Engine, engineEnv } from './engine.ts';

const configDir = join(cacheDir, 'docker-config');
const plugin = 'docker-compose';

async function version(env: Record<string, string | undefined>): Promise<number> {
  const { stdout } = await execa('docker', ['compose', 'version', '--short'], {
    env,
    extendEnv: false,
    reject: false,
  });
  return Number(/^v?(\d+)\./.exec(stdout)?.[1] ?? 0);
}

/** DOCKER_CONFIG with which `docker compose` is version 2: undefined where the machine's own is. */
export async function dockerConfig(engine: Engine): Promise<string | undefined> {
  const { DOCKER_CONFIG: given, ...env } = engineEnv(engine);
  // In a shell with our export lines DOCKER_CONFIG is already ours: ask what the machine has without it.
  if ((await version(given === configDir ? env : { ...env, DOCKER_CONFIG: given })) >= 2) return undefined;
  return (await version({ ...env, DOCKER_CONFIG: configDir })) >= 2 ? configDir : undefined;
}

/** Where the machine has no Compose v2 plugin: takes the one of the host image into a directory of the sandbox. */
export async function ensureCompose(engine: Engine, hostImage: string): Promise<void> {
  if ((await version(engineEnv(engine))) >= 2 || (await dockerConfig(engine))) return;
  await step('fetching the Compose plugin for this machine', async () => {
    const target = join(directory(configDir, 'cli-plugins'), plugin);
    const id = (await docker(engine, ['create', hostImage])).trim();
    try {
      await docker(engine, ['cp', `${id}:/usr/libexec/docker/cli-plugins/${plugin}`, `${target}.new`]);
    } finally {
      await docker(engine, ['rm', id]);
    }
    await chmod(`${target}.new`, 0o755);
    await rename(`${target}.new`, target);
    if (!(await dockerConfig(engine))) throw new SandboxError(`docker compose does not run with ${target}`);
  });
}

/** Logins to the registry of a sandbox that is gone: the next one may have its port. */
export const forgetLogins = (): void => rmSync(join(configDir, 'config.json'), { force: true });

/**
 * `docker compose up --wait` in a directory, against `target`; `engine` is the machine's.
 * @throws SandboxError with the end of what Compose said
 */
export async function composeUp(engine: Engine, target: Engine, dir: string): Promise<void> {
  const env = engineEnv(target);
  const config = await dockerConfig(engine);
  if (config) env.DOCKER_CONFIG = config;
  // The settings are those of the .env in the directory, whatever this shell operates at the moment.
  for (const name of Object.keys(env)) if (/^(COMPOSE_|POSTGRES_|APP_VERSION$)/.test(name)) delete env[name];
  const up = await execa('docker', ['compose', 'up', '--detach', '--wait', '--quiet-pull'], {
    cwd: dir,
    env,
    extendEnv: false,
    reject: false,
  });
  if (up.exitCode !== 0)
    throw new SandboxError(`docker compose up failed in ${dir}: ${up.stderr.slice(-600)}`);
}
