import { statSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from './command.ts';
import { Failure } from './failure.ts';
import type { Host } from './host.ts';
import { ensureFile, folderIn } from './keep.ts';

/**
 * The folder in which opsbook keeps what it must remember about an app on its host: `APP_DIR/.opsbook`, for its
 * owner alone, unseen by git, and never owned by a root who ran a script once by hand.
 */
export function stateDirectory(appDir: string): string {
  const folder = join(appDir, '.opsbook');
  try {
    statSync(appDir);
    folderIn(`${appDir}/.`, '.opsbook');
    ensureFile(join(folder, '.gitignore'), '*\n');
  } catch (error) {
    if (error instanceof Failure) throw error;
    throw new Failure(`${folder} cannot be made (${(error as NodeJS.ErrnoException).code})`, {
      next: `run as the owner of ${appDir}, or correct APP_DIR`,
      cause: error,
    });
  }
  return folder;
}

/** An empty file in the state folder, owned as the folder is. */
export function stateFile(folder: string, name: string): string {
  const path = join(folder, name);
  ensureFile(path);
  return path;
}

/**
 * For a shell: `enter DIRECTORY` goes there and stays there, whatever becomes of its path. Root is not led by a link of
 * another to what is not that one's, nor by any link that stands for a state folder.
 */
export const ENTER = `fail() { echo "$1" >&2; exit 1; }
enter() {
  case $1 in /*) from=$1 ;; *) from=$PWD/$1 ;; esac
  cd -P -- "$from" || exit 1
  [ "$(id -u)" = 0 ] || return 0
  [ "$(stat -c %d:%i -- "$from")" != "$(stat -c %d:%i .)" ] || return 0
  case $from in */.opsbook) fail "$from is a symbolic link: not followed" ;; esac
  case $(stat -c %u -- "$from") in
    0 | "$(stat -c %u .)") ;;
    *) fail "$from is a symbolic link to what belongs to another: not followed" ;;
  esac
}`;

/** `as DIRECTORY COMMAND…` runs a command in a directory, as root as its owner. */
const AS = `${ENTER}
as() {
  enter "$1"
  shift
  owner=$(stat -c %u:%g .)
  [ "$(id -u)" != 0 ] || [ "\${owner%:*}" = 0 ] ||
    exec setpriv --reuid "\${owner%:*}" --regid "\${owner#*:}" --clear-groups -- "$@"
  exec "$@"
}`;

/** A command that works in a directory of an app as its owner: what he planted there leads root nowhere. */
export const asOwner = (directory: string, ...argv: Command['argv']): Command['argv'] => [
  ...(['sh', '-c', `${AS}\nas "$@"`, 'as', directory] as const),
  ...argv,
];

/** What {@link stateFile} does here, as a shell does it on another host; it prints the file's path. */
const MAKE_FILE = `${AS}
d=$1/.opsbook; umask 077
[ -d "$1" ] || fail "$1 is not there; correct APP_DIR"
[ ! -L "$d" ] || fail "$d is a symbolic link: not followed"
[ -d "$d" ] || (as "$1" mkdir -p .opsbook) || exit 1
(as "$d" sh -c '[ -e .gitignore ] || echo "*" > .gitignore; : >> "$1"' make "$2") || exit 1
printf %s "$d/$2"`;

/** The file `name` of the state folder on `host`, made if it is not there. */
export async function stateFileOn(host: Host, appDir: string, name: string): Promise<string> {
  if (host.target === 'local') return stateFile(stateDirectory(appDir), name);
  return host.run({ argv: ['sh', '-c', MAKE_FILE, 'state', appDir, name] });
}
