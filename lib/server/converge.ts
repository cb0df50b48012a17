import { createInterface } from 'node:readline';
import { type Command, cmd, quote, type Word, wordsOf } from '../command.ts';
import type { Context } from '../definition.ts';
import { Failure, messageOf } from '../failure.ts';
import type { Report } from '../output.ts';
import type { Host } from '../shell.ts';

/** A command that makes an item so. */
export interface Act extends Command {
  /** What it reads. */
  readonly input?: string;
  /** What a dry run prints in place of a long piece of shell that is the same for many items. */
  readonly about?: string;
}

/** One thing that is to be so on the host. It is data, so that a run, a dry run and user data are the same set-up. */
export interface Item {
  readonly title: string;
  /** Succeeds when it is so already; it changes nothing. */
  readonly so: Command;
  /** Succeeds when there is something in its place, which is then changed (`~`) and not created (`+`). */
  readonly there?: Command;
  /** What has to hold first; where it does not, the item is left out (`!`) with the reason. */
  readonly only?: ReadonlyArray<{ readonly when: Command; readonly otherwise: string }>;
  /** Makes it so, whatever an interrupted run left behind. */
  readonly make: readonly Act[];
  /** Making it so may lock us out. */
  readonly guard?: Guard;
}

/**
 * Undoes an item that may lock us out: a timer on the host restores the files, unless it is stopped after a new login.
 * What the timer needs is in /run from before the first change until that login.
 */
export interface Guard {
  name: string;
  /** Files that are restored; those that did not exist are removed. */
  files: readonly string[];
  /** Shell that makes what runs read the files again. */
  heed: string;
  /** Succeeds when logins are still possible, as far as the host itself can tell. */
  proof: Act;
}

/** The state of an item: as wanted, something else in its place, nothing there, or not to be made. */
export type Standing = 'so' | 'other' | 'absent' | 'barred';

/** The sign before an item, as every script that converges prints it. */
const SIGN = { so: '=', other: '~', absent: '+', barred: '!' } as const;

type Converging = Pick<Context, 'host' | 'report' | 'change' | 'dryRun' | 'signal'> & {
  /** Reaches the host once more, by a connection of its own. */
  login: () => Promise<void>;
};

/**
 * Makes the items so that are not, in their order, and inspects them again until all are: a package may bring what
 * another item does not want, such as a timer.
 * @returns the state in which each was found
 * @throws Failure when an item cannot be made, or is not in effect after it was made
 */
export async function converge(items: readonly Item[], context: Converging): Promise<Standing[]> {
  const found = await inspect(context.host, items);
  const made = new Set<Item>();
  for (const [i, item] of items.entries()) found[i] = await settle(item, found[i]!, made, context);
  while (made.size > 0 && !context.dryRun) {
    const now = await inspect(context.host, items);
    const open = items.filter((_, i) => now[i] === 'other' || now[i] === 'absent');
    if (open.length === 0) break;
    const unmade = open.filter((item) => made.has(item)).map(({ title }) => title);
    if (unmade.length > 0)
      throw new Failure(`${context.host.name}: applied, but still not in effect: ${unmade.join('; ')}`, {
        next: 'run it again with --verbose, and read the output of its commands',
      });
    for (const item of open) found[items.indexOf(item)] = await settle(item, 'other', made, context);
  }
  return found;
}

/** Makes one item so, if it still is not: what was made before it may have brought it about. */
async function settle(item: Item, found: Standing, made: Set<Item>, context: Converging): Promise<Standing> {
  const { host, report, change } = context;
  const standing = found !== 'so' && made.size > 0 ? (await inspect(host, [item]))[0]! : found;
  const title = `${SIGN[standing]} ${item.title}`;
  if (standing === 'so') report.info(title);
  else if (standing === 'barred') report.warn(`${title}: ${await barring(host, item)}`);
  else {
    const { guard } = item;
    const acts = guard ? [arm(guard), ...item.make, guard.proof, disarm(guard)] : item.make;
    await change(title, acts.flatMap(shown), async () => {
      if (guard) await makeGuarded(item, guard, context);
      else for (const act of item.make) await perform(host, act, report);
      made.add(item);
    });
  }
  return standing;
}

/** Makes what may lock us out; whatever fails before a new login succeeded, it is undone. */
async function makeGuarded(item: Item, guard: Guard, context: Converging): Promise<void> {
  const { host, report, login, signal } = context;
  await perform(host, arm(guard), report);
  try {
    for (const act of [...item.make, guard.proof]) await perform(host, act, report);
    await login();
    await perform(host, disarm(guard), report);
  } catch (error) {
    const undone = await host.uninterrupted.run(undo(guard)).then(
      () => 'it was undone',
      () => `a timer on the host undoes it within ${MINUTES} minutes`,
    );
    // The failure of an interrupted run is not reported.
    if (signal.aborted) report.warn(`${host.name}: ${item.title}: ${undone}`);
    throw new Failure(`${host.name}: ${item.title}: ${messageOf(error)}; ${undone}`, {
      next: 'find out why from a second terminal (ssh -v), and run it again',
      cause: error,
    });
  }
}

/** A command and the file that it is given, as a dry run prints them. */
function shown({ about, input, ...command }: Act): Array<Command | string> {
  const lines = input === undefined ? [] : input.trimEnd().split('\n');
  return [about ?? command, ...lines.map((row) => `  | ${row}`)];
}

/** What package managers, and we, say of a lock that another process holds. */
const WAITING = /^(waiting for .*|Waiting for cache lock: .*|Waiting for process with pid .*)$/;

async function perform(host: Host, { about: _, input, ...command }: Act, report: Report): Promise<void> {
  // SSM takes the input of an open stream for a secret, for which a bare instance has neither AWS CLI nor role.
  if (input !== undefined) return void (await host.run(command, input));
  const running = host.start(command);
  running.stdin.end();
  for (const stream of [running.stdout, running.stderr])
    createInterface({ input: stream }).on('line', (row) => {
      if (WAITING.test(row)) report.info(row);
    });
  await running.done;
}

/** The state of each item on the host, in their order. */
async function inspect(host: Host, items: readonly Item[]): Promise<Standing[]> {
  const text = await host.run(root`sh`, inspection(items));
  const found = new Map(text.split('\n').map((row) => row.split(' ') as [string, Standing]));
  return items.map(({ title }, i) => {
    const standing = found.get(String(i));
    if (standing) return standing;
    throw new Failure(`${host.name} did not report the state of: ${title}`, { next: 'run it again' });
  });
}

/** One text inspects all items: over SSM each command takes a second. */
function inspection(items: readonly Item[]): string {
  const lines = items.map(({ so, there, only = [] }, i) =>
    [
      `if quietly ${line(so)}; then echo ${i} so`,
      ...only.map(({ when }) => `elif ! quietly ${line(when)}; then echo ${i} barred`),
      ...(there ? [`elif quietly ${line(there)}; then echo ${i} other`] : []),
      `else echo ${i} absent; fi`,
    ].join('\n'),
  );
  return `export LC_ALL=C.UTF-8\n${QUIETLY}\n${lines.join('\n')}\n`;
}

/** Why an item is left out: the first of its conditions that does not hold. */
async function barring(host: Host, { title, only = [] }: Item): Promise<string | undefined> {
  const conditions = only.map(({ when }) => ({ title, so: when, make: [] }));
  const found = await inspect(host, conditions);
  return only[found.findIndex((standing) => standing !== 'so')]?.otherwise;
}

/** Defines `quietly`, which a shell's `if` runs a command by: it reads nothing and writes nothing. */
export const QUIETLY = 'quietly() { "$@" </dev/null >/dev/null 2>&1; }';

/**
 * A command as a shell that is root already runs it.
 * @param write how a word is written in the shell's text
 */
export function line(command: Command, write: (word: string) => string = quote): string {
  const { env = {}, cwd } = command;
  const variables = Object.entries(env).map(([name, value]) => `${name}=${write(String(value))}`);
  const program = variables.length > 0 ? ['env', ...variables] : [];
  const words = [...program, ...wordsOf(command).map(write)].join(' ');
  return cwd === undefined ? words : `(cd ${write(cwd)} && ${words})`;
}

/** A command as root: `` root`systemctl enable ${unit}` ``. */
export const root = (pieces: TemplateStringsArray, ...words: Word[]): Command => ({
  ...cmd(pieces, ...words),
  root: true,
});

/** A constant piece of shell with its arguments `$1`, `$2` …, as root. */
export const shell = (text: string, ...args: string[]): Command => root`sh -c ${text} sh ${args}`;

/** Long enough for a slow machine; who is locked out waits as long. */
const MINUTES = 5;

const timerOf = ({ name }: Guard) => `opsbook-undo-${name}`;

/** A shell's test that no change is waiting for its login: the run that made it was killed. */
export const notPending = (guard: Guard) => `[ ! -d /run/${timerOf(guard)} ]`;

/** What a killed run saved is what is restored, not what it left behind. */
const ARM = `set -eu
unit=$1 dir=/run/$1 undo=$2 after=$3
shift 3
systemctl stop "$unit.timer" 2>/dev/null || :
if [ ! -d "$dir" ]; then
  rm -rf "$dir.new"
  mkdir -m 700 "$dir.new"
  for path; do [ ! -e "$path" ] || cp -a --parents "$path" "$dir.new"; done
  printf '%s\\n' "$@" >"$dir.new/paths"
  printf '%s\\n' "$undo" >"$dir.new/undo"
  mv "$dir.new" "$dir"
fi
systemctl reset-failed "$unit.service" 2>/dev/null || :
systemd-run --quiet --collect --service-type=oneshot --unit="$unit" --on-active="$after" --timer-property=AccuracySec=1s sh "$dir/undo"`;

const undoing = (guard: Guard) => `set -eu
dir=/run/${timerOf(guard)}
while read -r path; do
  if [ -e "$dir$path" ]; then
    cp -a "$dir$path" "$path.opsbook"
    mv -f "$path.opsbook" "$path"
  else rm -f "$path"; fi
done <"$dir/paths"
${guard.heed}
rm -rf "$dir"`;

/** Saves the files, and starts the timer that restores them. */
export const arm = (guard: Guard): Act => ({
  ...shell(ARM, timerOf(guard), undoing(guard), `${MINUTES}min`, ...guard.files),
  about: `start a timer (${timerOf(guard)}) that undoes this in ${MINUTES} minutes`,
});

const DISARM = `{ systemctl stop "$1.timer" && mv "/run/$1" "/run/$1.done" && rm -rf "/run/$1.done"; } 2>/dev/null ||
  { echo "it took so long that its timer has undone it" >&2; exit 1; }`;

/** Stops the timer: what was made stays. */
export const disarm = (guard: Guard): Act => ({
  ...shell(DISARM, timerOf(guard)),
  about: 'log in once more, over a new connection, and only then stop the timer',
});

/** By systemd, which goes on when the connection is lost. */
const UNDO = `[ ! -d "/run/$1" ] || systemctl start "$1.service"
systemctl stop "$1.timer" 2>/dev/null
[ ! -d "/run/$1" ]`;

/** Restores the files at once, and stops the timer. */
export const undo = (guard: Guard): Command => shell(UNDO, timerOf(guard));
