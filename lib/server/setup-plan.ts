import type { appSettings } from '../app.ts';
import type { Values } from '../settings.ts';
import { cmd, quote, wordsOf } from '../shell.ts';
import {
  type App,
  appDirectories,
  appUser,
  clone,
  cronJobs,
  type Job,
  sudoUser,
  swap,
  unit,
} from './setup-app.ts';
import type { Facts, System } from './setup-facts.ts';
import { fail2ban, firewall, keysOnly, unattendedUpgrades } from './setup-hardening.ts';
import { type Act, arm, directory, disarm, type Item, line, QUIETLY, undo } from './setup-item.ts';
import { docker, installed, opsbook, running, type Source, updates } from './setup-packages.ts';
import type { setupSettings } from './setup-settings.ts';

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
        ...cmd`sh -c ${'! systemctl is-enabled "$1" && ! systemctl is-active "$1"'} sh ${timer}`,
        root: true,
      },
      make: [{ ...cmd`systemctl disable --now ${timer}`, root: true }],
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

/** What EC2 takes; DigitalOcean takes 64 KiB. */
export const USER_DATA_MAX = 16 * 1024;

/**
 * The items as a script that cloud-init runs as root at first boot: the same looks and the same commands. It ends at the
 * first item that cannot be made, and can be run again.
 */
export function userData(items: readonly Item[], what: string): string {
  const names = repeated(items);
  const write = (word: string) => {
    const name = names.get(word);
    return name ? `"$${name}"` : quote(word);
  };
  return [
    '#!/bin/sh',
    `# ${what}. Its output: /var/log/cloud-init-output.log`,
    'set -eu',
    'export LC_ALL=C.UTF-8 HOME=/root',
    QUIETLY,
    ...[...names].map(([text, name]) => `${name}=${quote(text)}`),
    ...items.flatMap((item) => section(item, write)),
    '',
  ].join('\n');
}

/** Long pieces of shell that several items share have a name in the script, since its size is limited. */
function repeated(items: readonly Item[]): Map<string, string> {
  const commands = items.flatMap(({ so, only, make }) => [
    so,
    ...(only ?? []).map(({ when }) => when),
    ...make,
  ]);
  const words = commands.flatMap(wordsOf).filter((word) => word.length > 20);
  const again = [...new Set(words.filter((word, i) => words.indexOf(word) !== i))];
  return new Map(again.map((word, i) => [word, `text${i}`]));
}

function section({ title, so, only = [], make, guard }: Item, write: (word: string) => string): string[] {
  const lines = (acts: readonly Act[]) =>
    acts.flatMap(({ input, about: _, ...command }) =>
      input === undefined
        ? [line(command, write)]
        : [`${line(command, write)} <<'OPSBOOK'`, input.replace(/\n$/, ''), 'OPSBOOK'],
    );
  const acts = !guard
    ? lines(make)
    : [
        ...lines([arm(guard)]),
        `trap ${quote([`echo ${quote(`! ${title}: undone`)}`, ...lines([undo(guard)])].join('\n'))} EXIT`,
        ...lines([...make, guard.proof, disarm(guard)]),
        'trap - EXIT',
      ];
  return [
    `if quietly ${line(so, write)}; then echo ${quote(`= ${title}`)}`,
    ...only.map(
      ({ when, otherwise }) =>
        `elif ! quietly ${line(when, write)}; then echo ${quote(`! ${title}: ${otherwise}`)}`,
    ),
    'else',
    ...acts,
    `echo ${quote(`+ ${title}`)}`,
    'fi',
  ];
}
