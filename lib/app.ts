import { awsSettings } from './aws.ts';
import { list, optionalSetting, secretUrl, setting } from './settings.ts';

/** The settings that every script reads. */
export const appSettings = {
  APP: setting('APP', {
    about: 'the name of the app; backups and locks carry it',
    example: 'bloaty',
    type: (z) =>
      z.string().regex(/^[a-z0-9][a-z0-9._-]{0,62}$/, 'may contain only a-z, 0-9, ".", "_" and "-"'),
  }),
  APP_DIR: setting('APP_DIR', {
    about: 'the directory of the app on its host: compose file, .env, uploads',
    example: '/opt/bloaty',
    type: (z) => z.string().startsWith('/', 'must be an absolute path'),
  }),
  NOTIFY_URL: optionalSetting('NOTIFY_URL', {
    about: 'a Slack-compatible webhook that gets a message when a script fails',
    example: 'https://hooks.slack.com/services/T000/B000/XXXX',
    sensitive: true,
    type: secretUrl,
  }),
  HEARTBEAT_URL: optionalSetting('HEARTBEAT_URL', {
    about: 'pinged when backup starts, succeeds and fails; with {script} in it, when any script does',
    example: 'https://hc-ping.com/your-ping-key/bloaty-{script}',
    sensitive: true,
    type: secretUrl,
  }),
  ...awsSettings,
};

/** The settings by which Compose finds an app and its values. */
export const composeSettings = {
  COMPOSE_FILE: optionalSetting('COMPOSE_FILE', {
    about: "the app's compose files, separated by colons, relative to APP_DIR",
    example: 'docker-compose.yml:deploy/docker-compose.prod.yml',
    type: (z) => z.string(),
  }),
  COMPOSE_PROJECT_NAME: optionalSetting('COMPOSE_PROJECT_NAME', {
    about: "Compose's name for the app (default: the directory's name)",
    example: 'bloaty',
    type: (z) => z.string(),
  }),
  SECRETS_FILE: setting('SECRETS_FILE', {
    about: "the app's env file, relative to APP_DIR: every docker compose reads it, fetch-secrets makes it",
    example: '.env.production',
    default: '.env',
    type: (z) => z.string(),
  }),
};

/** The app's own commands, and the container that they run in. */
export const appCommandSettings = {
  APP_SERVICE: setting('APP_SERVICE', {
    about: "the compose service in which the app's own commands run",
    example: 'web',
    default: 'web',
    type: (z) => z.string().regex(/^[\w.-]+$/, 'is not the name of a service'),
  }),
  MIGRATE_COMMAND: optionalSetting('MIGRATE_COMMAND', {
    about: "the command line that migrates the database, run in the app's container",
    example: 'alembic upgrade head',
    type: (z) => z.string(),
  }),
};

/** Where an app runs, as TARGET says it. */
export type Target =
  | { kind: 'local' }
  | { kind: 'ssh'; user?: string; host: string; port?: number }
  | { kind: 'ssm'; instance: string }
  | { kind: 'ssm'; tag: string; value: string }
  | { kind: 'ecs'; cluster: string; service: string };

/** Neither part may begin with a dash: ssh would take it for an option. */
const SSH = /^ssh:\/\/(?:(\w[\w.-]*)@)?(\w[\w.-]*|\[[\da-f:]+\])(?::(\d{1,5}))?\/?$/i;
const SSM_INSTANCE = /^ssm:\/\/((?:i|mi)-[\da-f]{8,17})$/;
const SSM_TAG = /^ssm:\/\/tag:([^=]{1,128})=(.{1,256})$/;
const ECS = /^ecs:\/\/([\w-]+)\/([\w-]+)$/;

/** @throws Error that says which forms there are */
export function parseTarget(raw: string): Target {
  if (raw === 'local') return { kind: 'local' };
  const [, user, host, port] = SSH.exec(raw) ?? [];
  if (host) return { kind: 'ssh', host, ...(user ? { user } : {}), ...(port ? { port: Number(port) } : {}) };
  const [, instance] = SSM_INSTANCE.exec(raw) ?? [];
  if (instance) return { kind: 'ssm', instance };
  const [, tag, value] = SSM_TAG.exec(raw) ?? [];
  if (tag && value) return { kind: 'ssm', tag, value };
  const [, cluster, service] = ECS.exec(raw) ?? [];
  if (cluster && service) return { kind: 'ecs', cluster, service };
  throw new Error(
    `"${raw}" is not one of local, ssh://[user@]host[:port], ssm://i-…, ssm://tag:Name=value, ecs://cluster/service`,
  );
}

/** What an ssm:// target selects, as it is written after the scheme. */
export const selectedBySsm = (target: Extract<Target, { kind: 'ssm' }>) =>
  'tag' in target ? `tag:${target.tag}=${target.value}` : target.instance;

/** Where a script's commands run. */
export const targetSettings = {
  TARGET: setting('TARGET', {
    about: 'where the app runs, several separated by commas: local, ssh://…, ssm://…, ecs://cluster/service',
    example: 'ssh://deploy@chitram.example.org',
    default: 'local',
    type: list(parseTarget),
  }),
  SSH_IDENTITY_FILE: optionalSetting('SSH_IDENTITY_FILE', {
    about: 'the private key for ssh:// targets, if it is not one of those that ssh tries by itself',
    example: '~/.ssh/bloaty-prod.pem',
    type: (z) => z.string(),
  }),
  SSH_KNOWN_HOSTS: optionalSetting('SSH_KNOWN_HOSTS', {
    about: 'the file with the host keys of ssh:// targets, where it is not ~/.ssh/known_hosts',
    example: 'deploy/known_hosts',
    type: (z) => z.string(),
  }),
};
