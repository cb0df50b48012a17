import { posix } from 'node:path';
import { type ComposeSettings, composeCommand, envFileOf } from '../compose.ts';
import { hostSettings } from '../host-opsbook.ts';
import { quote, wordsOf } from '../shell.ts';
import { directory, emptyFile, file, type Item, noFile, rooted, shell } from './setup-item.ts';

export interface App {
  name: string;
  dir: string;
  user: string;
  /** By which Compose finds it. */
  compose: ComposeSettings;
  /** Below the app's directory, or absolute. */
  directories: readonly string[];
  repository?: string | undefined;
}

export function appDirectories({ dir, user, directories }: App): Item[] {
  const owner = `${user}:${user}`;
  return [
    directory(`${dir} is ${user}'s`, dir, '755', owner),
    directory(`${dir}/.opsbook, for what the scripts remember`, `${dir}/.opsbook`, '700', owner),
    ...directories.map((name) => {
      const path = posix.resolve(dir, name);
      return directory(path, path, '755', owner);
    }),
  ];
}

/**
 * A clone into a directory that need not be empty: uploads may be in it already. As the app's user, whose the
 * directory is by now; which commit runs is the deployment's business, so that a clone is never updated here.
 */
const CLONE = `set -eu
cd "$1"
git init -q
git remote add origin "$2" 2>/dev/null || git remote set-url origin "$2"
git fetch -q origin
git remote set-head origin --auto >/dev/null
head=$(git symbolic-ref --short refs/remotes/origin/HEAD)
git checkout -q -B "\${head#origin/}" --track "$head"`;

export function clone({ dir, user, repository }: App): Item[] {
  if (!repository) return [];
  const asUser = (text: string, ...args: string[]) =>
    rooted('runuser', '-u', user, '--', 'sh', '-c', text, 'sh', ...args);
  return [
    {
      title: `the app's repository in ${dir}`,
      so: asUser('git -C "$1" rev-parse --verify HEAD', dir),
      make: [asUser(CLONE, dir, repository)],
    },
  ];
}

/** In a unit's value, where `%` begins a specifier. */
const unitText = (text: string) => text.replaceAll('%', '%%');
const unitQuoted = (text: string) => `"${unitText(text).replaceAll(/["\\]/g, '\\$&')}"`;
/** In a unit's command, where `$` begins a variable; it has one line. */
const unitWord = (word: string) =>
  /^[\w@+=:,./-]+$/.test(word) ? word : unitQuoted(word).replaceAll('$', '$$$$').replaceAll('\n', '\\n');

/** systemd wants the whole path of what it starts. */
function unitCommand({ dir, compose }: App, ...args: string[]): string {
  const [program, ...words] = [...wordsOf(composeCommand(dir, compose, [])), ...args];
  return [program === 'docker' ? '/usr/bin/docker' : `/bin/${program}`, ...words.map(unitWord)].join(' ');
}

const environment = ({ COMPOSE_FILE, COMPOSE_PROJECT_NAME }: ComposeSettings) =>
  Object.entries({ COMPOSE_FILE, COMPOSE_PROJECT_NAME })
    .map(([name, value]) => (value ? `Environment=${unitQuoted(`${name}=${value}`)}\n` : ''))
    .join('');

/** Starts the app at boot. Stopping it stops its containers; it never removes them, as \`down\` would at each shutdown. */
export function unit(app: App): Item[] {
  const { name, dir, user, compose } = app;
  const first = compose.COMPOSE_FILE?.split(':')[0];
  const present = first ? posix.resolve(dir, first) : `${dir}/*compose*.y*ml`;
  const envFile = envFileOf(dir, compose);
  const content = `# Written by opsbook: the next set-up undoes what is changed here.
[Unit]
Description=${name}, by Docker Compose
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
WorkingDirectory=${unitText(dir)}
${environment(compose)}# After a deployment: the same files, and the one that says which version.
EnvironmentFile=-${unitText(dir)}/.opsbook/deployed.env
ExecStart=${unitCommand(app, 'up', '--detach')}
ExecStop=${unitCommand(app, 'stop')}

[Install]
WantedBy=multi-user.target
`;
  const path = `/etc/systemd/system/${name}.service`;
  const written = file({ title: `unit ${name}.service`, path, content, mode: '644', owner: 'root:root' });
  return [
    { ...written, make: [...written.make, rooted('systemctl', 'daemon-reload')] },
    {
      title: `${name} starts at boot`,
      so: shell('systemctl is-enabled "$1"', `${name}.service`),
      make: [rooted('systemctl', 'enable', `${name}.service`)],
    },
  ];
}

export interface Job {
  name: 'backup' | 'prune' | 'drill' | 'renew' | 'verify';
  /** In opsbook's directory. */
  script: string;
  user: string;
  /** Five fields; without one there is no entry. */
  schedule: string | undefined;
}

const LOGS = '/var/log/opsbook';

/** Debian's cron reads no file with a dot in its name, and says nothing. */
const cronName = (app: string, job: string) => `${app.replaceAll('.', '-')}-${job}`;

/** In a crontab an unescaped % ends the command, and the rest is its input. */
const cronText = (command: string) => command.replaceAll('%', '\\%');

/** The entries, the logs that their users can write, and what rotates these. */
export function cronJobs(app: App, opsbookDir: string, jobs: readonly Job[]): Item[] {
  const wanted = jobs.filter(({ schedule }) => schedule !== undefined);
  return [
    directory(LOGS, LOGS, '755', 'root:root'),
    ...wanted.map((job) =>
      emptyFile(`${logOf(app, job)} is ${job.user}'s`, logOf(app, job), '640', `${job.user}:${job.user}`),
    ),
    ...(wanted.length > 0 ? [rotation(app, wanted)] : []),
    ...jobs.map((job) => {
      const path = `/etc/cron.d/${cronName(app.name, job.name)}`;
      if (job.schedule === undefined) return noFile(`no ${path}`, path);
      const title = `${path} (${job.schedule}, as ${job.user})`;
      const content = entry(app, opsbookDir, job);
      return file({ title, path, content, mode: '644', owner: 'root:root' });
    }),
  ];
}

const logOf = (app: App, { name }: Pick<Job, 'name'>) => `${LOGS}/${app.name}-${name}.log`;

function entry(app: App, opsbookDir: string, job: Job): string {
  const bin = `${opsbookDir}/node_modules/.bin`;
  // What the file itself need not say; cron takes quotes around a value off.
  const named = envFileOf(app.dir, app.compose) ? `SECRETS_FILE="${app.compose.SECRETS_FILE}"\n` : '';
  const { choose, flags } = hostSettings(app.dir, app.compose);
  const command = [
    ...[`${bin}/tsx`, `${opsbookDir}/${job.script}`, ...flags].map(quote),
    ...[...(choose ? ['"$@"'] : []), '>>', quote(logOf(app, job)), '2>&1'],
  ].join(' ');
  // cron does not expand variables here, and takes quotes as they are where none surround the whole.
  return `# Written by opsbook: the next set-up undoes what is changed here. The times are the host's, in UTC.
SHELL=/bin/sh
PATH=${bin}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
TARGET=local
${named}${job.schedule} ${job.user} ${cronText(choose + command)}
`;
}

function rotation(app: App, jobs: readonly Job[]): Item {
  const stanza = (job: Job) => `${logOf(app, job)} {
  monthly
  maxsize 10M
  rotate 6
  compress
  delaycompress
  missingok
  notifempty
  create 0640 ${job.user} ${job.user}
}
`;
  return file({
    title: 'logrotate keeps six of each log',
    path: `/etc/logrotate.d/opsbook-${app.name.replaceAll('.', '-')}`,
    content: `# Written by opsbook: the next set-up undoes what is changed here.\n${jobs.map(stanza).join('')}`,
    ...{ mode: '644', owner: 'root:root' },
  });
}

/** The user that owns the app and may use Docker; membership counts from the next login on. */
export const appUser = (user: string): Item[] => [
  {
    title: `user ${user}`,
    so: rooted('id', user),
    make: [rooted('useradd', '--create-home', '--shell', '/bin/bash', user)],
  },
  {
    title: `${user} in group docker`,
    so: shell('id -nG "$1" | tr " " "\\n" | grep -qx docker', user),
    make: [rooted('usermod', '--append', '--groups', 'docker', user)],
  },
];

/** The whole file anew: its last line may lack a line break, and what is appended would become part of that key. */
const COPY_KEYS = `set -eu
from=$(getent passwd "$2" | cut -d : -f 6)/.ssh/authorized_keys
dir=$(getent passwd "$1" | cut -d : -f 6)/.ssh
keys=$dir/authorized_keys
for path in "$dir" "$keys"; do
  [ ! -L "$path" ] || { echo "$path is a symbolic link, which is not followed: give $1 the keys of $2 by hand" >&2; exit 1; }
done
group=$(id -gn "$1")
install -d -m 700 -o "$1" -g "$group" "$dir"
new=$(mktemp "$keys.XXXXXX")
trap 'rm -f "$new"' EXIT
old=$keys
[ -e "$old" ] || old=/dev/null
awk 'FILENAME == ARGV[1] || (NF && !/^#/ && !seen[$0]) { print } { seen[$0] = 1 }' "$old" "$from" > "$new"
chown "$1:$group" "$new"
chmod 600 "$new"
mv -f "$new" "$keys"`;

/** Each key of $2 is one of $1. An empty line of a pattern file would fit everything, so that keys alone count. */
const HAS_KEYS = `from=$(getent passwd "$2" | cut -d : -f 6)/.ssh/authorized_keys
own=$(getent passwd "$1" | cut -d : -f 6)/.ssh/authorized_keys
[ -s "$own" ] && [ "$(stat -c '%a %U' "$own")" = "600 $1" ] && ! grep -v '^#' "$from" | grep -v '^$' | grep -vxFf "$own"`;

/** The login for people and CI that is not root: by key, with sudo that asks for no password. */
export function sudoUser(user: string, login: string): Item[] {
  const items: Item[] = [
    {
      ...file({
        title: `${user} may use sudo without a password`,
        path: `/etc/sudoers.d/opsbook-${user.replaceAll('.', '-')}`,
        content: `${user} ALL=(ALL) NOPASSWD: ALL\n`,
        ...{ mode: '440', owner: 'root:root' },
      }),
    },
  ];
  if (login === user) return items;
  return [
    ...items,
    {
      title: `the SSH keys of ${login} are ${user}'s too`,
      so: shell(HAS_KEYS, user, login),
      there: shell('[ -s "$(getent passwd "$1" | cut -d : -f 6)/.ssh/authorized_keys" ]', user),
      only: [
        {
          when: shell('[ -s "$(getent passwd "$1" | cut -d : -f 6)/.ssh/authorized_keys" ]', login),
          otherwise: `${login} has no ~/.ssh/authorized_keys to copy; give ${user} one`,
        },
      ],
      make: [shell(COPY_KEYS, user, login)],
    },
  ];
}

const FILE = '/swapfile';

/** Memory enough, or swap that is there after a boot too where it is ours. */
const SO = `[ "$(sed -n 's/^MemTotal: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo)" -ge 2097152 ] && exit 0
[ "$(wc -l < /proc/swaps)" -gt 1 ] && { ! grep -q "^$1 " /proc/swaps || grep -q "^$1 " /etc/fstab; }`;

/** Filled and not just allocated: not every file system swaps onto holes. */
const MAKE = `set -eu
if ! grep -q "^$1 " /proc/swaps; then
  rm -f "$1"
  gib=$(awk '/^MemTotal:/ { print int(($2 + 1048575) / 1048576) }' /proc/meminfo)
  (umask 077; dd if=/dev/zero of="$1" bs=1M count=$((gib * 1024)) status=none)
  mkswap "$1" >/dev/null
  swapon "$1"
fi
grep -q "^$1 " /etc/fstab || echo "$1 none swap sw 0 0" >> /etc/fstab`;

/** On less than 2 GiB without swap a build takes the memory from the database, which is killed. */
export const swap: Item = {
  title: `swap as large as the memory (${FILE}), where that is under 2 GiB`,
  so: shell(SO, FILE),
  there: shell('grep -q "^$1 " /proc/swaps', FILE),
  make: [shell(MAKE, FILE)],
};
