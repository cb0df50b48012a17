import { list, optionalSetting, setting } from './settings.ts';

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
    `"${raw}" is none of local, ssh://[user@]host[:port], ssm://i-…, ssm://tag:Name=value, ecs://cluster/service`,
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
    about: 'the private key for ssh:// targets, where it is none of those that ssh tries by itself',
    example: '~/.ssh/bloaty-prod.pem',
    type: (z) => z.string(),
  }),
  SSH_KNOWN_HOSTS: optionalSetting('SSH_KNOWN_HOSTS', {
    about: 'the file with the host keys of ssh:// targets, where it is not ~/.ssh/known_hosts',
    example: 'deploy/known_hosts',
    type: (z) => z.string(),
  }),
};
