import type { AppWorld } from './apps/compose-app.ts';
import { region } from './cloud/aws.ts';
import { buckets } from './cloud/seed.ts';
import type { Credentials } from './state.ts';
import type { World } from './world.ts';

function keys(name: string, credentials: Credentials | undefined): Record<string, string> {
  if (!credentials) return {};
  return {
    [`${name}_ACCESS_KEY_ID`]: credentials.accessKeyId,
    [`${name}_SECRET_ACCESS_KEY`]: credentials.secretAccessKey,
  };
}

function bloatyExports({ host, dir, composeFile, url }: AppWorld): Record<string, string> {
  return {
    DOCKER_HOST: host.dockerHost,
    APP: 'bloaty',
    APP_DIR: dir,
    COMPOSE_FILE: composeFile,
    BACKUP_DATABASES: 'compose://db/bloaty?user=postgres',
    BACKUP_DIRECTORIES: 'uploads',
    HEALTH_URL: `${url}/health`,
    VERSION_URL: `${url}/api/version`,
    SANDBOX_URL: url,
    SANDBOX_SSH: `${host.ssh.user}@${host.ssh.host}:${host.ssh.port}`,
    SANDBOX_SSH_KEY: host.ssh.keyFile,
    SANDBOX_HOST_CONTAINER: host.container,
  };
}

/** The settings with which a script, run by hand from this checkout, operates the sandbox's bloaty. */
export function exports(world: World): Record<string, string> {
  const { users, url } = world.aws;
  const values: Record<string, string> = {
    ...(world.dockerConfig ? { DOCKER_CONFIG: world.dockerConfig } : {}),
    ...(world.bloaty ? bloatyExports(world.bloaty) : {}),
    AWS_ENDPOINT_URL: url,
    AWS_REGION: region,
    ...keys('AWS', users['backup-writer']),
    BACKUP_STORE: `s3://${buckets.bloaty}/`,
    ...keys('SANDBOX_READER', users['backup-reader']),
    ...keys('SANDBOX_PRUNER', users['backup-pruner']),
    ...keys('SANDBOX_ADMIN', users.admin),
  };
  if (world.engine.host) values.SANDBOX_DOCKER_HOST = world.engine.host;
  for (const [major, address] of Object.entries(world.postgres))
    values[`SANDBOX_POSTGRES_${major}`] = address;
  return values;
}

/** `export NAME=value` lines for a POSIX shell's eval. */
export function exportLines(values: Record<string, string>): string {
  const quote = (value: string): string =>
    /^[\w@%+=:,./-]+$/.test(value) ? value : `'${value.replaceAll("'", `'\\''`)}'`;
  return Object.entries(values)
    .map(([name, value]) => `export ${name}=${quote(value)}\n`)
    .join('');
}
