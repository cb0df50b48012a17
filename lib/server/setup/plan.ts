import type { appSettings } from '../../app.ts';
import type { Values } from '../../settings.ts';
import type { Facts } from './facts.ts';
import { directory } from './file.ts';
import type { Item } from './item.ts';
import { type App, appDirectories, clone, unit } from './items/app.ts';
import { cronJobs, type Job } from './items/cron.ts';
import { docker } from './items/docker.ts';
import { firewall } from './items/firewall.ts';
import { fail2ban, unattendedUpgrades } from './items/hardening.ts';
import { opsbook, type Source } from './items/opsbook.ts';
import { installed, running, updates } from './items/packages.ts';
import { keysOnly } from './items/sshd.ts';
import { swap } from './items/swap.ts';
import { appUser, sudoUser } from './items/users.ts';
import type { setupSettings } from './settings.ts';
import type { System } from './system.ts';

export type SetupSettings = Values<typeof setupSettings> & Values<typeof appSettings>;

/** What the items of a host are made of. */
export interface Wanted {
  kind: 'ec2' | 'droplet';
  system: System;
  settings: SetupSettings;
  facts: Pick<Facts, 'login' | 'sshPorts'>;
  source: Source | undefined;
}

const BASE = {
  apt: ['ca-certificates', 'curl', 'git', 'jq', 'cron', 'logrotate', 'xz-utils'],
  // Its curl is there from the start, as curl-minimal, which curl would conflict with.
  dnf: ['git', 'jq', 'cronie', 'logrotate', 'tar', 'xz'],
} as const;

const CRON = { apt: 'cron', dnf: 'crond' } as const;
/** What comes with certbot and renews as well: two of them would meet, and one knows nothing of the proxy. */
const TIMER = { apt: 'certbot.timer', dnf: 'certbot-renew.timer' } as const;

/** All that a host is to be, in the order in which it is made so. */
export function plan(wanted: Wanted): Item[] {
  const { kind, system, settings, facts, source } = wanted;
  const user = settings.APP_USER ?? (kind === 'ec2' ? system.imageUser : 'deploy');
  const app: App = {
    ...{ name: settings.APP, dir: settings.APP_DIR, user, compose: settings },
    ...{ directories: settings.APP_DIRECTORIES ?? [], repository: settings.APP_REPOSITORY },
  };
  return [
    updates(system),
    installed(system, 'tools that the scripts use', BASE[system.packages]),
    running('cron runs, also after a boot', CRON[system.packages]),
    swap,
    ...docker(system),
    ...appUser(user),
    ...(kind === 'droplet' ? sudoUser(user, facts.login) : []),
    ...appDirectories(app),
    ...clone(app),
    ...(byCertbot(settings) ? certbot(system, settings.ACME_WEBROOT) : []),
    ...opsbook(settings.OPSBOOK_DIR, source),
    ...cronJobs(app, settings.OPSBOOK_DIR, jobs(settings, user)),
    ...unit(app),
    ...(kind === 'droplet' ? hardening(wanted, user) : []),
  ];
}

/** A Caddy gets its own certificates. */
const byCertbot = ({ DOMAIN, PROXY_SERVICE }: SetupSettings) =>
  DOMAIN !== undefined && !/caddy/i.test(PROXY_SERVICE);

function certbot(system: System, webroot: string): Item[] {
  const timer = TIMER[system.packages];
  return [
    installed(system, 'certbot', ['certbot']),
    {
      title: `no ${timer}: the cron entry renews`,
      so: {
        argv: ['sh', '-c', '! systemctl is-enabled "$1" && ! systemctl is-active "$1"', 'sh', timer],
        root: true,
      },
      make: [{ argv: ['systemctl', 'disable', '--now', timer], root: true }],
    },
    directory(`${webroot}, for the challenges`, webroot, '755', 'root:root'),
  ];
}

function jobs(settings: SetupSettings, user: string): Job[] {
  return [
    { name: 'backup', script: 'scripts/backup/backup.ts', user, schedule: settings.BACKUP_SCHEDULE },
    { name: 'prune', script: 'scripts/backup/prune.ts', user, schedule: settings.PRUNE_SCHEDULE },
    { name: 'drill', script: 'scripts/backup/drill.ts', user, schedule: settings.DRILL_SCHEDULE },
    // certbot's files are root's, and so is half of what is verified.
    {
      ...{ name: 'renew', script: 'scripts/server/renew-certificates.ts', user: 'root' },
      schedule: byCertbot(settings) ? settings.RENEW_SCHEDULE : undefined,
    },
    { name: 'verify', script: 'scripts/server/verify.ts', user: 'root', schedule: settings.VERIFY_SCHEDULE },
  ];
}

/** What a cloud's security group does for EC2, and more: a droplet is open to everybody as it comes. */
const hardening = ({ system, facts }: Wanted, user: string): Item[] => [
  ...firewall(system, facts.sshPorts),
  ...fail2ban(system),
  ...unattendedUpgrades(system),
  ...keysOnly([...new Set([user, facts.login])]),
];
