import { randomBytes } from 'node:crypto';
import { docker, isRunning, ourLabel, publishedPort, removeContainer, tryDocker } from '../machine/docker.ts';
import type { Engine } from '../machine/engine.ts';
import { containerName } from '../names.ts';
import { network } from '../network.ts';
import { step } from '../progress.ts';
import { readState, updateState } from '../state.ts';
import { waitFor } from '../wait.ts';

const nameOf = (major: number): string => containerName(`postgres${major}`);

/** A PostgreSQL server outside every host, as a managed database is; reached by its URL only. */
export async function ensurePostgres(engine: Engine, image: string, major: number): Promise<void> {
  const name = nameOf(major);
  if (await isRunning(engine, name)) return;
  await step(`starting PostgreSQL ${major}`, async () => {
    const password = readState().postgresPassword ?? randomBytes(24).toString('base64');
    await updateState({ postgresPassword: password });
    await removeContainer(engine, name);
    const argv = ['run', '--detach', '--name', name, ...ourLabel, '--network', network];
    argv.push('--network-alias', `postgres${major}.sandbox`, '--publish', '127.0.0.1::5432');
    argv.push('--env', `POSTGRES_PASSWORD=${password}`, '--env', 'POSTGRES_DB=app');
    await docker(engine, [...argv, image]);
    const ready = ['exec', name, 'pg_isready', '-q', '-h', '127.0.0.1'];
    await waitFor(`PostgreSQL ${major}`, 60, async () => (await tryDocker(engine, ready)).code === 0);
  });
}

/** `postgres://…` from this machine, or undefined when that server does not run. */
export async function postgresUrl(engine: Engine, major: number): Promise<string | undefined> {
  if (!(await isRunning(engine, nameOf(major)))) return undefined;
  const password = encodeURIComponent(readState().postgresPassword ?? '');
  return `postgres://postgres:${password}@127.0.0.1:${await publishedPort(engine, nameOf(major), 5432)}/app`;
}
