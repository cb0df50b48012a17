import { createHash } from 'node:crypto';
import { dirname } from 'node:path';
import { Failure } from '../failure.ts';
import { type Command, cmd, type Host, quote, wordsOf } from '../shell.ts';

/** A command of the set-up, and what it reads. */
export interface Act extends Command {
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
  /** What has to hold first, where a set-up may go on without it. */
  readonly only?: readonly Condition[];
  /** Makes it so, whatever an interrupted run left behind. */
  readonly make: readonly Act[];
  /** It may close the way in. */
  readonly guard?: Guard;
}

/**
 * What is made may close the way in: a timer on the host makes it as it was, unless a new login was seen before. What the
 * timer needs is in a directory of the memory's, which is there from before the first change until that login.
 */
export interface Guard {
  name: string;
  /** Files that become what they were; those that were not there are removed. */
  files: readonly string[];
  /** Shell that makes what runs heed the files again. */
  heed: string;
  /** Succeeds when the way in is seen to be open, as far as the host itself can see that. */
  proof: Act;
}

interface Condition {
  readonly when: Command;
  /** Why it was left out. */
  readonly otherwise: string;
}

/** A constant piece of shell with its arguments `$1`, `$2` …, as root. */
export const shell = (text: string, ...args: string[]): Command => ({
  ...cmd`sh -c ${text} sh ${args}`,
  root: true,
});

/** A program with its arguments, as root. */
export const rooted = (...words: string[]): Command => ({ ...cmd`${words}`, root: true });

export interface FileSpec {
  title: string;
  path: string;
  content: string;
  /** As stat prints it: `644`. */
  mode: string;
  /** `user:group` */
  owner: string;
}

const IS = `[ -f "$1" ] && [ "$(stat -c '%a %U:%G' "$1")" = "$2" ] && echo "$3  $1" | sha256sum --check --status`;

/** Never half a file at its path; what it is renamed from is not seen by cron and sudo, which ignore names with dots. */
const PUT = `set -eu
mkdir -p "$2"
new=$(mktemp "$1.XXXXXX")
trap 'rm -f "$new"' EXIT
cat > "$new"
chown "$4" "$new"
chmod "$3" "$new"
mv -f "$new" "$1"`;

/** A file with this content, mode and owner. */
export function file({ title, path, content, mode, owner }: FileSpec): Item {
  const sum = createHash('sha256').update(content).digest('hex');
  return {
    title,
    so: shell(IS, path, `${mode} ${owner}`, sum),
    there: rooted('test', '-e', path),
    make: [put({ path, content, mode, owner })],
  };
}

/** Puts a file where it belongs, whole. */
const put = ({ path, content, mode, owner }: Omit<FileSpec, 'title'>): Act => ({
  ...shell(PUT, path, dirname(path), mode, owner),
  about: `write ${path} (${mode} ${owner}):`,
  input: content,
});

/** An empty file that is then written to by its owner: only its mode and owner are looked at. */
export const emptyFile = (title: string, path: string, mode: string, owner: string): Item => ({
  title,
  so: shell(`[ -f "$1" ] && [ "$(stat -c '%a %U:%G' "$1")" = "$2" ]`, path, `${mode} ${owner}`),
  there: rooted('test', '-e', path),
  make: [shell(`set -eu; umask 077; : >> "$1"; chown "$3" "$1"; chmod "$2" "$1"`, path, mode, owner)],
});

/** A directory; what is in it stays as it is. */
export const directory = (title: string, path: string, mode: string, owner: string): Item => ({
  title,
  so: shell(`[ -d "$1" ] && [ "$(stat -c '%a %U:%G' "$1")" = "$2" ]`, path, `${mode} ${owner}`),
  there: rooted('test', '-e', path),
  make: [rooted('mkdir', '-p', path), rooted('chown', owner, path), rooted('chmod', mode, path)],
});

/** A file that must not be there any more. */
export const noFile = (title: string, path: string): Item => ({
  title,
  so: shell('[ ! -e "$1" ]', path),
  there: rooted('test', '-e', path),
  make: [rooted('rm', '-f', path)],
});

/** Long enough for a slow machine; who has no other way in waits as long. */
const MINUTES = 5;

const unit = ({ name }: Guard) => `opsbook-undo-${name}`;
const place = (guard: Guard) => `/run/${unit(guard)}`;

/** A shell's test that no change is waiting for its login: the run that made it was killed. */
export const settled = (guard: Guard) => `[ ! -d ${place(guard)} ]`;

/** What a run that was killed has saved is the state that counts, and not what it left. */
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
dir=${place(guard)}
while read -r path; do
  if [ -e "$dir$path" ]; then
    cp -a "$dir$path" "$path.opsbook"
    mv -f "$path.opsbook" "$path"
  else rm -f "$path"; fi
done <"$dir/paths"
${guard.heed}
rm -rf "$dir"`;

export const arm = (guard: Guard): Act => ({
  ...shell(ARM, unit(guard), undoing(guard), `${MINUTES}min`, ...guard.files),
  about: `start a timer (${unit(guard)}) that undoes this in ${MINUTES} minutes`,
});

const DISARM = `systemctl stop "$1.timer" && mv "/run/$1" "/run/$1.done" && rm -rf "/run/$1.done"`;
export const disarm = (guard: Guard): Act => ({
  ...shell(
    `{ ${DISARM}; } 2>/dev/null || { echo "it took so long that its timer has undone it" >&2; exit 1; }`,
    unit(guard),
  ),
  about: 'log in once more, over a new connection, and only then stop the timer',
});

/** By systemd, which goes on when the connection is lost. */
const UNDO = `[ ! -d "/run/$1" ] || systemctl start "$1.service"
systemctl stop "$1.timer" 2>/dev/null
[ ! -d "/run/$1" ]`;
export const undo = (guard: Guard): Act => shell(UNDO, unit(guard));

/** What is told when the timer has to do it. */
export const later = `a timer on the host undoes it within ${MINUTES} minutes`;

/** How an item stands: as wanted, something else in its place, nothing there, or not to be made. */
export type Standing = 'so' | 'other' | 'absent' | 'barred';

/** How a word is written in a shell's text. */
type Write = (word: string) => string;

/** A command as a shell, which is root's already, runs it. */
export function line(command: Command, write: Write = quote): string {
  const { env = {}, cwd } = command;
  const variables = Object.entries(env).map(([name, value]) => `${name}=${write(String(value))}`);
  const words = [...(variables.length > 0 ? ['env', ...variables] : []), ...wordsOf(command).map(write)].join(
    ' ',
  );
  return cwd === undefined ? words : `(cd ${write(cwd)} && ${words})`;
}

/** Defines `quietly`, which a shell's `if` runs a command by: nothing is read, nothing is said. */
export const QUIETLY = 'quietly() { "$@" </dev/null >/dev/null 2>&1; }';

/** One text for all looks: over SSM each command takes a second. */
function lookText(items: readonly Item[]): string {
  const looks = items.map(({ so, there, only }, i) =>
    [
      `if quietly ${line(so)}; then echo ${i} so`,
      ...(only ?? []).map(({ when }) => `elif ! quietly ${line(when)}; then echo ${i} barred`),
      ...(there ? [`elif quietly ${line(there)}; then echo ${i} other`] : []),
      `else echo ${i} absent; fi`,
    ].join('\n'),
  );
  return `export LC_ALL=C.UTF-8\n${QUIETLY}\n${looks.join('\n')}\n`;
}

/** Why an item is barred: the first of its conditions that does not hold. */
export async function barring(host: Host, { title, only = [] }: Item): Promise<string | undefined> {
  const found = await look(
    host,
    only.map(({ when }) => ({ title, so: when, make: [] })),
  );
  return only[found.findIndex((standing) => standing !== 'so')]?.otherwise;
}

/** How each item stands on the host, in their order. */
export async function look(host: Host, items: readonly Item[]): Promise<Standing[]> {
  const text = await host.run({ ...cmd`sh`, root: true }, lookText(items));
  const found = new Map(text.split('\n').map((row) => row.split(' ') as [string, Standing]));
  return items.map(({ title }, i) => {
    const standing = found.get(String(i));
    if (standing) return standing;
    throw new Failure(`${host.name} did not say how it stands with: ${title}`, { next: 'run it again' });
  });
}
