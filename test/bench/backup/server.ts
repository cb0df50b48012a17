import { createHash } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { docker } from '../../sandbox/machine/docker.ts';
import { containerName, directory, label, prefix } from '../../sandbox/names.ts';
import { waitFor } from '../../sandbox/wait.ts';
import { feedInside } from '../run.ts';
import { say } from '../say.ts';
import type { Bench } from '../world.ts';

const sqlFile = fileURLToPath(new URL('database.sql', import.meta.url));

/** The PostgreSQL that is backed up: a service of a compose app, as an app has it. */
export interface Server {
  container: string;
  /** APP_DIR of the app. */
  appDir: string;
  psql(database: string, sql: string): Promise<string>;
}

/** Starts the server, or finds the one that an earlier run left in a sandbox that stays up. */
export async function openServer(bench: Bench): Promise<Server> {
  const container = containerName('db');
  const appDir = directory(bench.dir, 'app');
  // YAML is a superset of JSON. No network: all goes through docker exec.
  const db = {
    image: bench.images.postgres,
    container_name: container,
    network_mode: 'none',
    shm_size: '256m',
    labels: { [label]: prefix },
    environment: { POSTGRES_PASSWORD: 'unused', POSTGRES_DB: 'postgres' },
  };
  const file = JSON.stringify({ name: container, services: { db } });
  await writeFile(join(appDir, 'docker-compose.yml'), file);
  await execa('docker', ['compose', 'up', '--detach'], { cwd: appDir, env: bench.env, extendEnv: false });
  const psql = (database: string, sql: string): Promise<string> =>
    docker(bench.engine, ['exec', container, 'psql', '-U', 'postgres', '-qXAt', '-d', database, '-c', sql]);
  await waitFor('PostgreSQL', 60, async () => {
    // The set-up's own server is no answer: it is stopped once more.
    const { stdout } = await execa('docker', ['exec', container, 'cat', '/proc/1/comm'], { env: bench.env });
    return stdout.trim() === 'postgres' && (await psql('postgres', 'SELECT 1')).trim() === '1';
  });
  return { container, appDir, psql };
}

/** A generated database of about so many megabytes; made once while the sandbox is up. Returns its name. */
export async function ensureDatabase(bench: Bench, server: Server, megabytes: number): Promise<string> {
  const name = `bench_${megabytes}`;
  const mark = createHash('sha256')
    .update(await readFile(sqlFile))
    .digest('hex')
    .slice(0, 16);
  const found = `SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = '${name}'`;
  if ((await server.psql('postgres', found)).trim() === mark) return name;
  say(`generating a database of ${megabytes} MB`);
  await server.psql('postgres', `DROP DATABASE IF EXISTS ${name}`);
  await server.psql('postgres', `CREATE DATABASE ${name}`);
  const units = String(Math.max(1, Math.round(megabytes / 10)));
  const psql = ['psql', '-U', 'postgres', '-qX', '-v', `units=${units}`, '-d', name];
  await feedInside(bench, server.container, sqlFile, psql);
  await server.psql('postgres', `COMMENT ON DATABASE ${name} IS '${mark}'`);
  const size = Number(await server.psql(name, 'SELECT pg_database_size(current_database())'));
  say(`generated ${name}: ${(size / 1e6).toFixed(0)} MB`);
  return name;
}
