import { posix } from 'node:path';
import { quote, wordsOf } from '../command.ts';
import { type ComposeSettings, composeCommand, envFileOf } from '../compose.ts';
import { hostSettings } from '../host-opsbook.ts';
import { type Item, root, shell } from './converge.ts';
import type { Request, SetupSettings } from './setup.ts';
import { directory, emptyFile, file, installed, noFile } from './setup-item.ts';
import { opsbook } from './setup-machine.ts';
import type { System } from './setup-settings.ts';

/** What an app has on its host, for the user who owns it; in the order in which it is made so. */
export function app({ settings, system, source }: Request, user: string): Item[] {
  return [
    ...directories(settings, user),
    ...clone(settings, user),
    ...(byCertbot(settings) ? certbot(system, settings.ACME_WEBROOT) : []),
    ...opsbook(settings.OPSBOOK_DIR, source),
    ...cronJobs(settings, user),
    ...unit(settings, user),
  ];
}

/** The user that owns the app and may use Docker; membership counts from the next login on. */
export const appUser = (user: string): Item[] => [
  {
    title: `user ${user}`,
    so: root`id ${user}`,
    make: [root`useradd --create-home --shell /bin/bash ${user}`],
  },
  {
    title: `${user} in group docker`,
    so: shell('id -nG "$1" | tr " " "\\n" | grep -qx docker', user),
    make: [root`usermod --append --groups docker ${user}`],
  },
];

function directories({ APP_DIR, APP_DIRECTORIES = [] }: SetupSettings, user: string): Item[] {
  const owner = `${user}:${user}`;
  return [
    directory(`${APP_DIR} is ${user}'s`, APP_DIR, '755', owner),
    directory(`${APP_DIR}/.opsbook, for the state of the scripts`, `${APP_DIR}/.opsbook`, '700', owner),
    ...APP_DIRECTORIES.map((name) => {
      const path = posix.resolve(APP_DIR, name);
      return directory(path, path, '755', owner);
    }),
  ];
}

/**
 * A clone into a directory that need not be empty: uploads may be in it already. It is never updated here, since a
 * deployment decides which commit runs.
 */
const CLONE = `set -eu
cd "$1"
git init -q
git remote add origin "$2" 2>/dev/null || git remote set-url origin "$2"
git fetch -q origin
git remote set-head origin --auto >/dev/null
head=$(git symbolic-ref --short refs/remotes/origin/HEAD)
git checkout -q -B "\${head#origin/}" --track "$head"`;

function clone({ APP_DIR, APP_REPOSITORY }: SetupSettings, user: string): Item[] {
  if (!APP_REPOSITORY) return [];
  const asUser = (text: string, ...args: string[]) => root`runuser -u ${user} -- sh -c ${text} sh ${args}`;
  return [
    {
      title: `the app's repository in ${APP_DIR}`,
      so: asUser('git -C "$1" rev-parse --verify HEAD', APP_DIR),
      make: [asUser(CLONE, APP_DIR, APP_REPOSITORY)],
    },
  ];
}

/** A Caddy gets its own certificates. */
const byCertbot = ({ DOMAIN, PROXY_SERVICE }: SetupSettings) =>
  DOMAIN !== undefined && !/caddy/i.test(PROXY_SERVICE);

/** It comes with certbot and renews as well, without reloading the proxy; the two would collide. */
const TIMER = { apt: 'certbot.timer', dnf: 'certbot-renew.timer' } as const;

function certbot(system: System, webroot: string): Item[] {
  const timer = TIMER[system.packages];
  return [
    installed(system, 'certbot', ['certbot']),
    {
      title: `no ${timer}: the cron entry renews`,
      so: shell('! systemctl is-enabled "$1" && ! systemctl is-active "$1"', timer),
      make: [root`systemctl disable --now ${timer}`],
    },
    directory(`${webroot}, for the challenges`, webroot, '755', 'root:root'),
  ];
}

const LOGS = '/var/log/opsbook';

type Job = ReturnType<typeof jobsOf>[number];

/** What cron may run; without a schedule there is no entry. */
function jobsOf(settings: SetupSettings, user: string) {
  const renewals = byCertbot(settings) ? settings.RENEW_SCHEDULE : undefined;
  const jobs = [
    { name: 'backup', script: 'backup/backup', user, schedule: settings.BACKUP_SCHEDULE },
    { name: 'prune', script: 'backup/prune', user, schedule: settings.PRUNE_SCHEDULE },
    { name: 'drill', script: 'backup/drill', user, schedule: settings.DRILL_SCHEDULE },
    // certbot's files are root's, and so is half of what is verified.
    { name: 'renew', script: 'server/renew-certificates', user: 'root', schedule: renewals },
    { name: 'verify', script: 'server/verify', user: 'root', schedule: settings.VERIFY_SCHEDULE },
  ];
  return jobs.map((job) => ({ ...job, log: `${LOGS}/${settings.APP}-${job.name}.log` }));
}

/** Debian's cron silently ignores a file with a dot in its name. */
const dotless = (app: string) => app.replaceAll('.', '-');

/** The entries, the logs that their users can write, and what rotates these. */
function cronJobs(settings: SetupSettings, user: string): Item[] {
  const jobs = jobsOf(settings, user);
  const scheduled = jobs.filter(({ schedule }) => schedule !== undefined);
  return [
    directory(LOGS, LOGS, '755', 'root:root'),
    ...scheduled.map(({ log, user }) => emptyFile(`${log} is ${user}'s`, log, '640', `${user}:${user}`)),
    ...(scheduled.length > 0 ? [rotation(settings.APP, scheduled)] : []),
    ...jobs.map((job) => {
      const path = `/etc/cron.d/${dotless(settings.APP)}-${job.name}`;
      if (job.schedule === undefined) return noFile(`no ${path}`, path);
      const title = `${path} (${job.schedule}, as ${job.user})`;
      return file({ title, path, content: entry(settings, job) });
    }),
  ];
}

function entry(settings: SetupSettings, { script, user, schedule, log }: Job): string {
  const { APP_DIR, OPSBOOK_DIR, SECRETS_FILE } = settings;
  const bin = `${OPSBOOK_DIR}/node_modules/.bin`;
  // The file itself need not name itself. cron removes quotes around a value.
  const named = envFileOf(APP_DIR, settings) ? `SECRETS_FILE="${SECRETS_FILE}"\n` : '';
  const { choose, flags } = hostSettings(APP_DIR, settings);
  const command = [
    ...[`${bin}/tsx`, `${OPSBOOK_DIR}/scripts/${script}.ts`, ...flags].map(quote),
    ...[...(choose ? ['"$@"'] : []), '>>', quote(log), '2>&1'],
  ].join(' ');
  // cron does not expand variables here, and keeps quotes that do not surround the whole value. An unescaped % would end
  // the command, and the rest would be its input.
  return `# Written by opsbook: the next set-up undoes what is changed here. The times are the host's, in UTC.
SHELL=/bin/sh
PATH=${bin}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
TARGET=local
${named}${schedule} ${user} ${(choose + command).replaceAll('%', '\\%')}
`;
}

function rotation(app: string, jobs: readonly Job[]): Item {
  const stanza = ({ log, user }: Job) => `${log} {
  monthly
  maxsize 10M
  rotate 6
  compress
  delaycompress
  missingok
  notifempty
  create 0640 ${user} ${user}
}
`;
  return file({
    title: 'logrotate keeps six of each log',
    path: `/etc/logrotate.d/opsbook-${dotless(app)}`,
    content: `# Written by opsbook: the next set-up undoes what is changed here.\n${jobs.map(stanza).join('')}`,
  });
}

/** In a unit's value, where `%` begins a specifier. */
const unitText = (text: string) => text.replaceAll('%', '%%');
const unitQuoted = (text: string) => `"${unitText(text).replaceAll(/["\\]/g, '\\$&')}"`;
/** In a unit's command, where `$` begins a variable; it has one line. */
const unitWord = (word: string) =>
  /^[\w@+=:,./-]+$/.test(word) ? word : unitQuoted(word).replaceAll('$', '$$$$').replaceAll('\n', '\\n');

/** systemd wants the whole path of what it starts. */
function unitCommand(settings: SetupSettings, ...args: string[]): string {
  const [program, ...words] = [...wordsOf(composeCommand(settings.APP_DIR, settings, [])), ...args];
  return [program === 'docker' ? '/usr/bin/docker' : `/bin/${program}`, ...words.map(unitWord)].join(' ');
}

const environment = ({ COMPOSE_FILE, COMPOSE_PROJECT_NAME }: ComposeSettings) =>
  Object.entries({ COMPOSE_FILE, COMPOSE_PROJECT_NAME })
    .map(([name, value]) => (value ? `Environment=${unitQuoted(`${name}=${value}`)}\n` : ''))
    .join('');

/** Starts the app at boot. Stopping it stops its containers; it never removes them, as `down` would at each shutdown. */
function unit(settings: SetupSettings, user: string): Item[] {
  const { APP, APP_DIR, COMPOSE_FILE } = settings;
  const first = COMPOSE_FILE?.split(':')[0];
  const present = first ? posix.resolve(APP_DIR, first) : `${APP_DIR}/*compose*.y*ml`;
  const envFile = envFileOf(APP_DIR, settings);
  const content = `# Written by opsbook: the next set-up undoes what is changed here.
[Unit]
Description=${APP}, by Docker Compose
Requires=docker.service
After=docker.service network-online.target
Wants=network-online.target
# Before the first deployment there is nothing to start.
ConditionPathExistsGlob=${unitText(present)}
${envFile ? `ConditionPathExists=${unitText(envFile)}\n` : ''}
[Service]
Type=oneshot
RemainAfterExit=yes
User=${user}
Group=docker
WorkingDirectory=${unitText(APP_DIR)}
${environment(settings)}# After a deployment: the same files, and the one that says which version.
EnvironmentFile=-${unitText(APP_DIR)}/.opsbook/deployed.env
ExecStart=${unitCommand(settings, 'up', '--detach')}
ExecStop=${unitCommand(settings, 'stop')}

[Install]
WantedBy=multi-user.target
`;
  return [
    file({
      title: `unit ${APP}.service`,
      path: `/etc/systemd/system/${APP}.service`,
      content,
      after: [root`systemctl daemon-reload`],
    }),
    {
      title: `${APP} starts at boot`,
      so: shell('systemctl is-enabled "$1"', `${APP}.service`),
      make: [root`systemctl enable ${APP}.service`],
    },
  ];
}
