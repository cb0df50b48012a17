import type { AppWorld } from './apps/compose-app.ts';
import { region } from './cloud/aws.ts';
import { type AppName, buckets, userName } from './cloud/seed.ts';
import type { Droplet } from './hosts/droplet.ts';
import type { InstanceHost } from './hosts/fleet.ts';
import { knownHosts } from './hosts/known-hosts.ts';
import { SandboxError } from './names.ts';
import type { Credentials } from './state.ts';
import type { World } from './world.ts';

function keys(name: string, credentials: Credentials | undefined): Record<string, string> {
  if (!credentials) return {};
  return {
    [`${name}_ACCESS_KEY_ID`]: credentials.accessKeyId,
    [`${name}_SECRET_ACCESS_KEY`]: credentials.secretAccessKey,
  };
}

function appExports(
  app: AppName,
  { host, dir, composeFile, url, settings }: AppWorld,
): Record<string, string> {
  const database = settings.POSTGRES_DB ?? app;
  const values: Record<string, string> = {
    DOCKER_HOST: host.dockerHost,
    APP: app,
    APP_DIR: dir,
    COMPOSE_FILE: composeFile,
    BACKUP_DATABASES: `compose://db/${database}?user=${settings.POSTGRES_USER ?? 'postgres'}`,
    HEALTH_URL: `${url}/health`,
    VERSION_URL: `${url}/api/version`,
    SANDBOX_URL: url,
    SANDBOX_SSH: `${host.ssh.user}@${host.ssh.host}:${host.ssh.port}`,
    SANDBOX_SSH_KEY: host.ssh.keyFile,
    SANDBOX_HOST_CONTAINER: host.container,
  };
  if (app === 'bloaty') return { ...values, BACKUP_DIRECTORIES: 'uploads' };
  const storage = {
    accessKeyId: settings.OBJECT_STORE_ACCESS_KEY ?? '',
    secretAccessKey: settings.OBJECT_STORE_SECRET_KEY ?? '',
  };
  const storageUrl = `http://127.0.0.1:${host.ports[9000]}`;
  return {
    ...values,
    BACKUP_BUCKETS: `images?endpoint=${storageUrl}`,
    SANDBOX_STORAGE_URL: storageUrl,
    ...keys('SANDBOX_STORAGE', storage),
    ...keys('BUCKET', storage),
  };
}

const dropletExports = ({ container, ssh, ports }: Droplet): Record<string, string> => ({
  SANDBOX_DROPLET_CONTAINER: container,
  SANDBOX_DROPLET_SSH: `${ssh.user}@${ssh.host}:${ssh.port}`,
  SANDBOX_DROPLET_URL: `http://127.0.0.1:${ports[80]}`,
});

/** Lists are separated by commas, in the order of the hosts' names. */
function hostExports({ fleet, instance, droplet }: World): Record<string, string> {
  const describe = (name: string, hosts: InstanceHost[]): Record<string, string> => {
    if (hosts.length === 0) return {};
    const each = (value: (host: InstanceHost) => string): string => hosts.map(value).join(',');
    return {
      [`SANDBOX_${name}_CONTAINER${hosts.length > 1 ? 'S' : ''}`]: each(({ container }) => container),
      [`SANDBOX_${name}_ID${hosts.length > 1 ? 'S' : ''}`]: each(({ id }) => id),
      [`SANDBOX_${name}_DOCKER_HOST${hosts.length > 1 ? 'S' : ''}`]: each(({ dockerHost }) => dockerHost),
      [`SANDBOX_${name}_SSH`]: each(({ ssh }) => `${ssh.user}@${ssh.host}:${ssh.port}`),
      [`SANDBOX_${name}_URL${hosts.length > 1 ? 'S' : ''}`]: each(
        ({ ports }) => `http://127.0.0.1:${ports[80]}`,
      ),
    };
  };
  const [any] = [...fleet, ...instance, droplet].filter((host) => host !== undefined);
  return {
    ...(any ? { SANDBOX_SSH_KEY: any.ssh.keyFile, SANDBOX_KNOWN_HOSTS: knownHosts } : {}),
    ...describe('FLEET', fleet),
    ...describe('INSTANCE', instance),
    ...(droplet ? dropletExports(droplet) : {}),
  };
}

/**
 * The settings with which a script, run by hand from this checkout, operates an app of the sandbox.
 * @throws SandboxError when that app is not up
 */
export function exports(world: World, app: AppName = 'bloaty'): Record<string, string> {
  const running = world[app];
  if (!running && app !== 'bloaty') {
    throw new SandboxError(`${app} is not up: start it with npm run sandbox -- up ${app}`);
  }
  const { users, url } = world.aws;
  const values: Record<string, string> = {
    ...(world.dockerConfig ? { DOCKER_CONFIG: world.dockerConfig } : {}),
    ...(running ? appExports(app, running) : {}),
    AWS_ENDPOINT_URL: url,
    AWS_REGION: region,
    ...keys('AWS', users[userName(app, 'backup-writer')]),
    BACKUP_STORE: `s3://${buckets[app]}/`,
    ...keys('SANDBOX_READER', users[userName(app, 'backup-reader')]),
    ...keys('SANDBOX_PRUNER', users[userName(app, 'backup-pruner')]),
    ...keys('SANDBOX_ADMIN', users.admin),
    ...keys('SANDBOX_OPERATOR', users.operator),
    ...keys('SANDBOX_SECRETS_READER', users['secrets-reader']),
    ...keys('SANDBOX_SECRETS_WRITER', users['secrets-writer']),
  };
  values.SANDBOX_INSIDE_AWS_ENDPOINT_URL = world.aws.insideUrl;
  if (world.aws.registry) values.SANDBOX_REGISTRY = world.aws.registry;
  if (world.engine.host) values.SANDBOX_DOCKER_HOST = world.engine.host;
  if (world.certificates) {
    values.SANDBOX_SITE_CONTAINER = world.certificates.hostContainer;
    values.SANDBOX_SITE_KEY = world.certificates.keyFile;
    values.SANDBOX_ACME_CONTAINER = world.certificates.acmeContainer;
  }
  Object.assign(values, hostExports(world));
  for (const [major, server] of Object.entries(world.postgres)) {
    values[`SANDBOX_POSTGRES_${major}`] = server.url;
    values[`SANDBOX_POSTGRES_${major}_COMPOSE_FILE`] = server.composeFile;
  }
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
