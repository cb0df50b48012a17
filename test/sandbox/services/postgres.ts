import { randomBytes } from 'node:crypto';
import { cp, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { composeUp } from '../machine/compose.ts';
import { docker, isRunning, publishedPort, removeContainer } from '../machine/docker.ts';
import type { Engine } from '../machine/engine.ts';
import { containerName, directory, prefix, sandboxDir, stateDir } from '../names.ts';
import { network } from '../network.ts';
import { step } from '../progress.ts';
import { readState, updateState } from '../state.ts';
import { waitFor } from '../wait.ts';

/** The servers that can be had: 15 is older than pg_dump's own zstd. */
export const majors = [15, 17] as const;
export type Major = (typeof majors)[number];

export interface PostgresServer {
  /** `postgres://…` from this machine */
  url: string;
  /** its compose file, service `db`, for the machine's engine */
  composeFile: string;
}

const project = (major: Major): string => containerName(`postgres${major}`);
const container = (major: Major): string => `${project(major)}-db-1`;
const readyCommand = 'pg_isready -q -h 127.0.0.1 -U postgres -d app'.split(' ');
const dirOf = (major: Major): string => join(stateDir, 'services', `postgres${major}`);

/** Starts a PostgreSQL server that is reached by its URL, or by Compose on the machine's engine. */
export async function ensurePostgres(engine: Engine, image: string, major: Major): Promise<void> {
  if (await isRunning(engine, container(major), image)) return;
  await step(`starting PostgreSQL ${major}`, async () => {
    const password = readState().postgresPassword ?? randomBytes(24).toString('base64');
    updateState({ postgresPassword: password });
    await removeContainer(engine, container(major));
    const dir = directory(dirOf(major));
    await cp(join(sandboxDir, 'services/docker-compose.yml'), join(dir, 'docker-compose.yml'));
    const settings = {
      PROJECT: project(major),
      SANDBOX: prefix,
      NETWORK: network,
      ALIAS: `postgres${major}.sandbox`,
      POSTGRES_IMAGE: image,
      POSTGRES_PASSWORD: password,
    };
    const text = Object.entries(settings).map(([name, value]) => `${name}='${value}'\n`);
    await writeFile(join(dir, '.env'), text.join(''), { mode: 0o600 });
    await composeUp(engine, engine, dir);
    // Asked here and not by a health check: the engine would go on asking for as long as the server runs.
    await waitFor(`PostgreSQL ${major}`, 60, () =>
      docker(engine, ['exec', container(major), ...readyCommand]).then(() => true),
    );
  });
}

/** The running server of that version, or undefined. */
export async function describePostgres(engine: Engine, major: Major): Promise<PostgresServer | undefined> {
  if (!(await isRunning(engine, container(major)))) return undefined;
  const password = encodeURIComponent(readState().postgresPassword ?? '');
  const port = await publishedPort(engine, container(major), 5432);
  return {
    url: `postgres://postgres:${password}@127.0.0.1:${port}/app`,
    composeFile: join(dirOf(major), 'docker-compose.yml'),
  };
}
