import { posix } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Context } from '../definition.ts';
import { checkAll, EXIT, Failure, messageOf } from '../failure.ts';
import { bytes, count } from '../format.ts';
import { openHosts } from '../hosts.ts';
import type { Report } from '../output.ts';
import { mask } from '../secret.ts';
import { CommandFailure, cmd, type Host, localHost } from '../shell.ts';
import { askFacts, type Facts, parseFacts, type System, systemNames, systemOf } from './setup-facts.ts';
import {
  type Act,
  arm,
  barring,
  disarm,
  type Guard,
  type Item,
  later,
  look,
  type Standing,
  shell,
  undo,
} from './setup-item.ts';
import type { Source } from './setup-packages.ts';
import { plan, type SetupSettings, USER_DATA_MAX, userData, type Wanted } from './setup-plan.ts';

/** The sign before an item, as every script that converges prints it. */
const SIGN = { so: '=', other: '~', absent: '+', barred: '!' } as const;

type Doing = Pick<Context, 'host' | 'report' | 'change' | 'dryRun' | 'signal'> & {
  /** Reaches the host once more, by a connection of its own. */
  login: () => Promise<void>;
};

const isOpen = (standing: Standing | undefined) => standing === 'other' || standing === 'absent';

/**
 * Makes the items so that are not, in their order, and looks again until all are: a package may bring what another item
 * does not want, such as a timer.
 * @returns what each was when it was found
 * @throws Failure when an item cannot be made, or is not so after it was made
 */
export async function converge(items: readonly Item[], context: Doing): Promise<Standing[]> {
  const found = await look(context.host, items);
  const made = new Set<Item>();
  for (const [i, item] of items.entries()) found[i] = await settle(item, found[i]!, made, context);
  while (made.size > 0 && !context.dryRun) {
    const now = await look(context.host, items);
    const open = items.filter((_, i) => isOpen(now[i]));
    if (open.length === 0) break;
    refuseUnmade(
      context.host,
      open.filter((item) => made.has(item)),
    );
    for (const item of open) found[items.indexOf(item)] = await settle(item, 'other', made, context);
  }
  return found;
}

/** Makes one item so, if it still is not: what was made before it may have brought it about. */
async function settle(item: Item, found: Standing, made: Set<Item>, context: Doing): Promise<Standing> {
  const { host, report, change } = context;
  const standing = found !== 'so' && made.size > 0 ? (await look(host, [item]))[0]! : found;
  const title = `${SIGN[standing]} ${item.title}`;
  if (standing === 'so') report.info(title);
  else if (standing === 'barred') report.warn(`${title}: ${await barring(host, item)}`);
  else {
    const { guard } = item;
    const acts = guard ? [arm(guard), ...item.make, guard.proof, disarm(guard)] : item.make;
    await change(title, acts.flatMap(shown), async () => {
      if (guard) await guarded(item, guard, context);
      else for (const act of item.make) await perform(host, act, report);
      made.add(item);
    });
  }
  return standing;
}

/** Makes what may close the way in; whatever fails before a new login was seen, it is undone. */
async function guarded(item: Item, guard: Guard, { host, report, login, signal }: Doing): Promise<void> {
  await perform(host, arm(guard), report);
  try {
    for (const act of [...item.make, guard.proof]) await perform(host, act, report);
    await login();
    await perform(host, disarm(guard), report);
  } catch (error) {
    const undone = await host.uninterrupted.run(undo(guard)).then(
      () => 'it was undone',
      () => later,
    );
    // Of a run that was interrupted no failure is told.
    if (signal.aborted) report.warn(`${host.name}: ${item.title}: ${undone}`);
    throw new Failure(`${host.name}: ${item.title}: ${messageOf(error)}; ${undone}`, {
      next: 'see why from a second terminal (ssh -v), and run it again',
      cause: error,
    });
  }
}

function refuseUnmade(host: Host, items: readonly Item[]): void {
  if (items.length === 0) return;
  throw new Failure(`${host.name}: made, but still not so: ${items.map(({ title }) => title).join('; ')}`, {
    next: 'run it again with --verbose, and look at what its commands say',
  });
}

/** A command and the file that it is given, as a dry run prints them. */
const shown = ({ about, input, ...command }: Act) => [
  about ?? command,
  ...(input === undefined
    ? []
    : input
        .trimEnd()
        .split('\n')
        .map((row) => `  | ${row}`)),
];

/** What package managers, and we, say of a lock that another process holds. */
const WAITING = /^(waiting for .*|Waiting for cache lock: .*|Waiting for process with pid .*)$/;

async function perform(host: Host, { about: _, input, ...command }: Act, report: Report): Promise<void> {
  // What is put into an open stream SSM takes for a secret, for which a bare instance has neither AWS CLI nor role.
  if (input !== undefined) return void (await host.run(command, input));
  const running = host.start(command);
  running.stdin.end();
  for (const stream of [running.stdout, running.stderr])
    createInterface({ input: stream }).on('line', (row) => {
      if (WAITING.test(row)) report.info(row);
    });
  await running.done;
}

/** Images of an app take more; below this not even Docker and opsbook fit. */
const FREE_MB = 2500;

/** What the host says of itself. @throws Failure where its user cannot become root */
export async function facts(host: Host, { OPSBOOK_DIR, APP }: SetupSettings): Promise<Facts> {
  try {
    return parseFacts(await host.run(askFacts(OPSBOOK_DIR, APP)));
  } catch (error) {
    if (!(error instanceof CommandFailure) || !/sudo/.test(`${error.words}${error.stderr}`)) throw error;
    throw new Failure(`${host.name}: this user cannot become root: ${error.words}`, {
      next: 'log in as root, or as a user whose sudo asks for no password',
      cause: error,
    });
  }
}

/** What speaks against a set-up, all of it. @throws Problems */
export async function preflight(host: Host, known: Facts, settings: SetupSettings): Promise<System> {
  const system = systemOf(known);
  await checkAll([
    () => refuseSystem(host, known, system),
    () => refuseMachine(host, known),
    () => {
      if (known.freeMb >= FREE_MB) return;
      throw new Failure(
        `${host.name}: ${bytes(known.freeMb * 1048576)} are free on /, ${bytes(FREE_MB * 1048576)} are needed`,
        { next: 'make room, or take a larger disk' },
      );
    },
    () => {
      if (settings.OPSBOOK_REPOSITORY || known.opsbook) return;
      throw new Failure(`${host.name}: opsbook is not there, and OPSBOOK_REPOSITORY is not set`, {
        next: 'set OPSBOOK_REPOSITORY, or copy this checkout to OPSBOOK_DIR on the host',
      });
    },
    () => refuseName(host, known, settings),
    () => refusePlaces(settings),
    () => system && reachable(host, system),
  ]);
  return system!;
}

function refuseSystem(host: Host, { os, version, systemd }: Facts, system: System | undefined): void {
  if (!system)
    throw new Failure(`${host.name} runs ${os || 'an unknown system'} ${version}, which no set-up is for`, {
      next: `use one of ${systemNames.join(', ')}`,
    });
  if (!systemd)
    throw new Failure(`${host.name} was not booted by systemd, which starts Docker, cron and the app`, {
      next: 'use an image of the distribution for virtual machines',
    });
}

function refuseMachine(host: Host, { machine }: Facts): void {
  if (machine === 'x86_64' || machine === 'aarch64') return;
  throw new Failure(`${host.name} is a ${machine} machine, for which there are no pinned binaries`, {
    next: 'use x86_64 or aarch64',
  });
}

function refuseName(host: Host, { taken }: Facts, { APP }: SetupSettings): void {
  if (!taken) return;
  throw new Failure(
    `APP=${APP}: ${host.name} has a ${APP}.service of its own, which the app's would replace`,
    {
      exit: EXIT.usage,
      next: 'give the app another name',
    },
  );
}

/** Directories of the system: a set-up would give them to the app's user. */
const SYSTEM = /^\/(bin|boot|dev|etc|lib\d*|proc|root|run|sbin|sys|usr)(\/|$)|^\/[^/]*$|^\/var\/[^/]*$/;

/** @throws Problems naming each setting that names a directory of the system */
export async function refusePlaces({ APP_DIR, APP_DIRECTORIES = [] }: SetupSettings): Promise<void> {
  const refuse = (name: string, path: string) => () => {
    if (!SYSTEM.test(posix.resolve(APP_DIR, path))) return;
    throw new Failure(`${name}=${path}: is the system's, not the app's`, {
      exit: EXIT.usage,
      next: 'name a directory of the app, such as /opt/bloaty',
    });
  };
  await checkAll([
    refuse('APP_DIR', APP_DIR),
    ...APP_DIRECTORIES.map((path) => refuse('APP_DIRECTORIES', path)),
  ]);
}

/** The first index of each of apt's sources is fetched: by apt's own program, through apt's own proxy. */
const APT_SOURCES = `t=$(mktemp -d); trap 'rm -rf "$t"' EXIT; failed=
for uri in $(apt-get update --print-uris 2>/dev/null | sed -n "s/^'\\([^']*\\)'.*/\\1/p" | awk -F / '!seen[$3]++'); do
  /usr/lib/apt/apt-helper -o Acquire::Retries=1 download-file "$uri" "$t/it" >/dev/null 2>&1 || failed="$failed $uri"
done
[ -z "$failed" ] || { echo "cannot reach$failed" >&2; exit 1; }`;

async function reachable(host: Host, { packages }: System): Promise<void> {
  const look = packages === 'apt' ? shell(APT_SOURCES) : shell('dnf -q makecache');
  try {
    await host.run(look);
  } catch (error) {
    if (!(error instanceof CommandFailure)) throw error;
    throw new Failure(`${host.name}: its package sources do not answer: ${error.words}`, {
      next: 'check its network, its DNS and its package sources',
      cause: error,
    });
  }
}

type Setup = Context & { settings: SetupSettings };

/** Makes the host ready, or prints the script that would. */
export async function setUp(
  kind: Wanted['kind'],
  context: Setup,
  system: Wanted['system'] | undefined,
): Promise<void> {
  const { host, settings, report, json } = context;
  if (system) return print(kind, context, system);
  const known = await facts(host, settings);
  const source = await sourceOf(settings);
  const wanted = { kind, settings, facts: known, source, system: await preflight(host, known, settings) };
  if (known.zone !== 'UTC')
    report.warn(
      `${host.name} lives by ${known.zone}: cron's times are those. Next: timedatectl set-timezone UTC`,
    );
  const items = plan(wanted);
  const before = await converge(items, { ...context, login: () => login(context) });
  const of = (standing: string) => before.filter((found) => found === standing).length;
  const counts = `${of('so')} unchanged, ${of('absent')} created, ${of('other')} changed`;
  report.summary(
    `${count(items.length, 'item')}: ${counts}${of('barred') > 0 ? `, ${of('barred')} left out` : ''}`,
  );
  if (json) report.data(JSON.stringify(items.map(({ title }, i) => ({ title, was: before[i] }))));
}

/** sshd that reads its files again listens again after a moment; a packet that is dropped takes ssh 10 s by itself. */
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

async function print(
  kind: Wanted['kind'],
  { settings, report }: Setup,
  system: Wanted['system'],
): Promise<void> {
  await checkAll([
    () => refusePlaces(settings),
    () => refuseSecretIn('OPSBOOK_REPOSITORY', settings, 'name one that is fetched from without a password'),
    () =>
      refuseSecretIn('APP_REPOSITORY', settings, `unset it, and clone to ${settings.APP_DIR} after the boot`),
  ]);
  const source = await sourceOf(settings);
  if (!source)
    throw new Failure('OPSBOOK_REPOSITORY is not set, and a machine at its first boot has no opsbook', {
      exit: EXIT.usage,
      next: 'set OPSBOOK_REPOSITORY to where it can be fetched from without a password',
    });
  // Nothing is known of the machine yet, but that clouds let root in, on port 22.
  const known = { login: 'root', sshPorts: [] };
  const text = userData(
    plan({ kind, settings, facts: known, source, system }),
    `Set-up of ${settings.APP} on ${system.name}, by opsbook`,
  );
  const size = Buffer.byteLength(text);
  if (kind === 'ec2' && size > USER_DATA_MAX)
    report.warn(
      `user data of ${size} bytes, of which EC2 takes ${USER_DATA_MAX}: leave schedules to a later set-up`,
    );
  // Masked, it would be another script.
  if (mask(text) !== text)
    throw new Failure('user data would have a secret of this environment in it', {
      exit: EXIT.usage,
      next: "run it with an --env-file that has the set-up's settings alone",
    });
  report.data(text);
}

/** What is masked when it is printed would be missing at the first boot, and who reads user data reads all of it. */
function refuseSecretIn(
  name: 'OPSBOOK_REPOSITORY' | 'APP_REPOSITORY',
  settings: SetupSettings,
  next: string,
): void {
  const url = settings[name] ?? '';
  if (mask(url) === url) return;
  throw new Failure(`${name} has a password or a token in it, which user data must not have`, {
    exit: EXIT.usage,
    next,
  });
}

/** Where opsbook's own commit can be fetched from, if anywhere. */
async function sourceOf({ OPSBOOK_REPOSITORY: repository }: SetupSettings): Promise<Source | undefined> {
  if (!repository) return undefined;
  try {
    const head = await localHost().run({ ...cmd`git rev-parse HEAD`, cwd: import.meta.dirname });
    return { repository, commit: head.trim() };
  } catch (error) {
    if (!(error instanceof CommandFailure)) throw error;
    throw new Failure(
      'this opsbook is no git checkout, so that nobody can tell which one the host is to fetch',
      {
        next: 'run it from a clone, or unset OPSBOOK_REPOSITORY and copy opsbook to OPSBOOK_DIR on the host',
        cause: error,
      },
    );
  }
}
