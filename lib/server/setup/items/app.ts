import { posix } from 'node:path';
import { type ComposeSettings, composeCommand, envFileOf } from '../../../compose.ts';
import { directory, file } from '../file.ts';
import { type Item, rooted, shell } from '../item.ts';

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
  const {
    argv: [program, ...words],
  } = composeCommand(dir, compose, args);
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
