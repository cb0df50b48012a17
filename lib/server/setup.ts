import { posix } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { appSettings } from '../app.ts';
import { CommandFailure, cmd, quote, wordsOf } from '../command.ts';
import type { Context } from '../definition.ts';
import { checkAll, EXIT, Failure, messageOf } from '../failure.ts';
import { bytes, count } from '../format.ts';
import { localHost, openHosts } from '../hosts.ts';
import { mask } from '../secret.ts';
import type { Values } from '../settings.ts';
import type { Host } from '../shell.ts';
import { type Act, arm, converge, disarm, type Item, line, QUIETLY, shell, undo } from './converge.ts';
import { type System, type setupSettings, systemNamed, systemNames } from './setup-settings.ts';
import { SSHD } from './setup-sshd.ts';

export type SetupSettings = Values<typeof setupSettings> & Values<typeof appSettings>;
type Setup = Context & { settings: SetupSettings };

/** What the items of a host are made of. */
export interface Request {
  settings: SetupSettings;
  system: System;
  facts: Pick<Facts, 'login' | 'sshPorts'>;
  source: Source | undefined;
}

/** Where opsbook can be fetched from, and which commit is to be. */
export interface Source {
  repository: string;
  commit: string;
}

/**
 * What is to be made of the host; nothing is changed yet.
 * @throws Problems with all that speaks against it
 */
export async function preflight({ host, settings, report }: Setup): Promise<Request> {
  const facts = await factsOf(host, settings);
  const source = await sourceOf(settings);
  await refuseUnfit(host, facts, settings);
  if (facts.zone !== 'UTC')
    report.warn(
      `${host.name} is in the time zone ${facts.zone}, and so are cron's times. Next: timedatectl set-timezone UTC`,
    );
  return { settings, facts, source, system: systemOf(facts)! };
}

/** Makes the host what the items say, and reports what had to be done. */
export async function setUp(items: readonly Item[], context: Setup): Promise<void> {
  const { report, json } = context;
  const found = await converge(items, { ...context, login: () => login(context) });
  const of = (standing: string) => found.filter((one) => one === standing).length;
  const counts = `${of('so')} unchanged, ${of('absent')} created, ${of('other')} changed`;
  report.summary(
    `${count(items.length, 'item')}: ${counts}${of('barred') > 0 ? `, ${of('barred')} left out` : ''}`,
  );
  if (json) report.data(JSON.stringify(items.map(({ title }, i) => ({ title, was: found[i] }))));
}

/** After a reload sshd listens again within a moment; a dropped packet alone costs ssh 10 s. */
const LOGIN_MS = 10_000;

/** @throws Failure when the host cannot be reached by a new connection */
async function login({ settings, signal }: Setup): Promise<void> {
  const end = Date.now() + LOGIN_MS;
  for (;;) {
    try {
      const { close } = await openHosts(settings, { signal });
      return await close();
    } catch (error) {
      if (signal.aborted || Date.now() > end)
        throw new Failure(`a new login failed: ${messageOf(error)}`, { cause: error });
      await sleep(500, undefined, { signal });
    }
  }
}

type Facts = ReturnType<typeof parseFacts>;

/** Prints the facts as `name=value`, a line each; contacts nobody. */
const ASK = `${SSHD}
. /etc/os-release
echo "os=$ID"; echo "version=\${VERSION_ID:-}"; echo "machine=$(uname -m)"
df -Pm / | awk 'NR == 2 { print "freeMb=" $4 }'
[ -d /run/systemd/system ] && echo systemd=1
dpkg-query -W -f '\${Status}' docker-ce 2>/dev/null | grep -q '^install ok' && echo dockerCe=1
rpm -q docker-ce >/dev/null 2>&1 && echo dockerCe=1
echo "login=\${SUDO_USER:-$(id -un)}"
echo "sshPorts=$(sshd_ports | tr '\\n' ' ')"
echo "zone=$(date +%Z)"
[ -e "$1/scripts/backup/backup.ts" ] && echo opsbook=1
[ -e "/usr/lib/systemd/system/$2.service" ] || [ -e "/lib/systemd/system/$2.service" ] && echo taken=1
:`;

function parseFacts(text: string) {
  const said = new Map(text.split('\n').map((row) => row.split(/=(.*)/) as [string, string]));
  const word = (name: string) => said.get(name)?.trim() ?? '';
  return {
    /** `ID` and `VERSION_ID` of /etc/os-release: `debian` `13`, `ubuntu` `24.04`, `amzn` `2023`. */
    os: word('os'),
    version: word('version'),
    /** As `uname -m` says it. */
    machine: word('machine'),
    freeMb: Number(word('freeMb')),
    systemd: said.has('systemd'),
    /** Docker's own packages (docker-ce) are installed: the distribution's must not be mixed with them. */
    dockerCe: said.has('dockerCe'),
    /** The user who logged in to do this, before sudo. */
    login: word('login'),
    /** The ports by which sshd is reached; none where nothing is known of the host. */
    sshPorts: word('sshPorts').split(' ').filter(Boolean).map(Number),
    /** The time zone of cron. */
    zone: word('zone'),
    /** opsbook is in its directory. */
    opsbook: said.has('opsbook'),
    /** The system has a unit of the app's name, such as docker.service. */
    taken: said.has('taken'),
  };
}

/** What has to be known of a host before its items can be planned. @throws Failure where its user cannot become root */
async function factsOf(host: Host, { OPSBOOK_DIR, APP }: SetupSettings): Promise<Facts> {
  try {
    return parseFacts(await host.run(shell(ASK, OPSBOOK_DIR, APP)));
  } catch (error) {
    if (!(error instanceof CommandFailure) || !/sudo/.test(`${error.words}${error.stderr}`)) throw error;
    throw new Failure(`${host.name}: this user cannot become root: ${error.words}`, {
      next: 'log in as root, or as a user whose sudo asks for no password',
      cause: error,
    });
  }
}

const DOCKER_CE = 'docker-ce docker-ce-cli containerd.io docker-compose-plugin docker-buildx-plugin'.split(
  ' ',
);

/** The system of a host; Docker's own packages stay where they are, and get their own plugins. */
export function systemOf(facts: Pick<Facts, 'os' | 'version' | 'dockerCe'>): System | undefined {
  const found = systemNamed(`${facts.os}-${facts.version}`);
  return found && facts.dockerCe ? { ...found, docker: DOCKER_CE, pinned: false } : found;
}

/** The commit of this opsbook, which the host is to fetch. */
async function sourceOf({ OPSBOOK_REPOSITORY: repository }: SetupSettings): Promise<Source | undefined> {
  if (!repository) return undefined;
  try {
    const head = await localHost().run({ ...cmd`git rev-parse HEAD`, cwd: import.meta.dirname });
    return { repository, commit: head.trim() };
  } catch (error) {
    if (!(error instanceof CommandFailure)) throw error;
    throw new Failure(
      'this opsbook is not a git checkout, so the commit that the host is to fetch is unknown',
      {
        next: 'run it from a clone, or unset OPSBOOK_REPOSITORY and copy opsbook to OPSBOOK_DIR on the host',
        cause: error,
      },
    );
  }
}

/** Docker and opsbook need this much; the images of an app need more. */
const FREE_MB = 2500;

/** @throws Problems with all that speaks against setting this host up */
async function refuseUnfit(host: Host, facts: Facts, settings: SetupSettings): Promise<void> {
  const { name } = host;
  const { APP, OPSBOOK_REPOSITORY } = settings;
  const { os, version, machine, freeMb } = facts;
  const system = systemOf(facts);
  const [free, needed] = [bytes(freeMb * 1048576), bytes(FREE_MB * 1048576)];
  await checkAll([
    refuse(
      !system,
      `${name} runs ${os || 'an unknown system'} ${version}, which is not supported`,
      `use one of ${systemNames.join(', ')}`,
    ),
    refuse(
      !facts.systemd,
      `${name} was not booted by systemd, which starts Docker, cron and the app`,
      'use an image of the distribution for virtual machines',
    ),
    refuse(
      !['x86_64', 'aarch64'].includes(machine),
      `${name} is a ${machine} machine, for which there are no pinned binaries`,
      'use x86_64 or aarch64',
    ),
    refuse(
      !(freeMb >= FREE_MB),
      `${name}: ${free} are free on /, ${needed} are needed`,
      'make room, or take a larger disk',
    ),
    refuse(
      !OPSBOOK_REPOSITORY && !facts.opsbook,
      `${name}: opsbook is not there, and OPSBOOK_REPOSITORY is not set`,
      'set OPSBOOK_REPOSITORY, or copy this checkout to OPSBOOK_DIR on the host',
    ),
    refuseSetting(
      facts.taken,
      `APP=${APP}: ${name} has a ${APP}.service of its own, which the app's would replace`,
      'give the app another name',
    ),
    () => refusePlaces(settings),
    () => system && reachable(host, system),
  ]);
}

/** A check that fails where something is so. */
const refuse =
  (so: boolean, message: string, next: string, exit: Failure['exit'] = EXIT.failed) =>
  () => {
    if (so) throw new Failure(message, { next, exit });
  };
const refuseSetting = (so: boolean, message: string, next: string) => refuse(so, message, next, EXIT.usage);

/** Directories of the system: a set-up would give them to the app's user. */
const SYSTEM = /^\/(bin|boot|dev|etc|lib\d*|proc|root|run|sbin|sys|usr)(\/|$)|^\/[^/]*$|^\/var\/[^/]*$/;

/** @throws Problems naming each setting that names a directory of the system */
async function refusePlaces({ APP_DIR, APP_DIRECTORIES = [] }: SetupSettings): Promise<void> {
  const places = [['APP_DIR', APP_DIR], ...APP_DIRECTORIES.map((path) => ['APP_DIRECTORIES', path])];
  await checkAll(
    places.map(([name, path = '']) =>
      refuseSetting(
        SYSTEM.test(posix.resolve(APP_DIR, path)),
        `${name}=${path}: is the system's, not the app's`,
        'name a directory of the app, such as /opt/bloaty',
      ),
    ),
  );
}

/** Fetches the first index of each of apt's sources, by apt's own program and through apt's own proxy. */
const APT_SOURCES = `t=$(mktemp -d); trap 'rm -rf "$t"' EXIT; failed=
for uri in $(apt-get update --print-uris 2>/dev/null | sed -n "s/^'\\([^']*\\)'.*/\\1/p" | awk -F / '!seen[$3]++'); do
  /usr/lib/apt/apt-helper -o Acquire::Retries=1 download-file "$uri" "$t/it" >/dev/null 2>&1 || failed="$failed $uri"
done
[ -z "$failed" ] || { echo "cannot reach$failed" >&2; exit 1; }`;

async function reachable(host: Host, { packages }: System): Promise<void> {
  try {
    await host.run(shell(packages === 'apt' ? APT_SOURCES : 'dnf -q makecache'));
  } catch (error) {
    if (!(error instanceof CommandFailure)) throw error;
    throw new Failure(`${host.name}: its package sources do not answer: ${error.words}`, {
      next: 'check its network, its DNS and its package sources',
      cause: error,
    });
  }
}

/**
 * Prints the items as a script that cloud-init runs at first boot.
 * @param max what the provider takes, in bytes
 * @throws Failure where a secret would be in it, or opsbook cannot be fetched
 */
export async function printUserData(
  system: System,
  itemsOf: (request: Request) => Promise<Item[]>,
  { settings, report }: Setup,
  max = Infinity,
): Promise<void> {
  // A secret is masked when it is printed, and would be missing at the first boot. Whoever reads user data reads all of it.
  const secretIn = (name: 'OPSBOOK_REPOSITORY' | 'APP_REPOSITORY', next: string) =>
    refuseSetting(
      hasSecret(settings[name] ?? ''),
      `${name} contains a password or a token, which user data must not`,
      next,
    );
  await checkAll([
    () => refusePlaces(settings),
    secretIn('OPSBOOK_REPOSITORY', 'use an address that needs no password'),
    secretIn('APP_REPOSITORY', `unset it, and clone to ${settings.APP_DIR} after the boot`),
  ]);
  const source = await sourceOf(settings);
  if (!source)
    throw new Failure('OPSBOOK_REPOSITORY is not set, and a machine at its first boot has no opsbook', {
      exit: EXIT.usage,
      next: 'set OPSBOOK_REPOSITORY to an address that needs no password',
    });
  // Nothing is known of the machine yet, except that clouds let root in, on port 22.
  const facts = { login: 'root', sshPorts: [] };
  const items = await itemsOf({ settings, facts, source, system });
  const text = userData(items, `Set-up of ${settings.APP} on ${system.name}, by opsbook`);
  const size = Buffer.byteLength(text);
  if (size > max)
    report.warn(
      `the user data has ${size} bytes, and EC2 takes ${max}. Next: leave the schedules to a later set-up`,
    );
  if (hasSecret(text))
    throw new Failure('user data would contain a secret of this environment', {
      exit: EXIT.usage,
      next: 'run it with an --env-file that has only the settings of the set-up',
    });
  report.data(text);
}

const hasSecret = (text: string) => mask(text) !== text;

/**
 * The items as a script that root runs: the same checks and the same commands. It ends at the first item that cannot be
 * made, and can be run again.
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
  const commands = items.flatMap(({ so, only = [], make }) => [so, ...only.map(({ when }) => when), ...make]);
  const words = commands.flatMap(wordsOf).filter((word) => word.length > 20);
  const again = [...new Set(words.filter((word, i) => words.indexOf(word) !== i))];
  return new Map(again.map((word, i) => [word, `text${i}`]));
}

/** One item in the script. */
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
