import {
  closeSync,
  constants,
  existsSync,
  fchownSync,
  fstatSync,
  fsyncSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  type Stats,
  statSync,
  writeSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { type Command, cmd } from './command.ts';
import { Failure } from './failure.ts';
import type { Host } from './shell.ts';

/** Bytes that are gathered before they are written. */
const CHUNK = 1 << 20;

const isRoot = process.getuid?.() === 0;
const { O_APPEND, O_CREAT, O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_RDWR, O_WRONLY } =
  constants;

/** A folder that is held open: what becomes of its path meanwhile leads nobody elsewhere. */
interface Held {
  /** A path of the folder itself. */
  at: string;
  handle: number;
  stats: Stats;
}

/**
 * Does something in a folder without following a link in its place. The folder may be of a user who would like root to
 * work elsewhere: whoever runs it as root stays in the folder that was opened, which belongs to root or to whom the
 * folder above belongs to.
 */
function inFolder<T>(folder: string, act: (held: Held) => T): T {
  const above = dirname(folder);
  const inside = basename(above) === '.opsbook';
  const open = (path: string, owner: number): T => {
    const handle = opened(path, O_RDONLY | O_DIRECTORY, folder);
    try {
      const stats = fstatSync(handle);
      refuseStranger(folder, stats, owner);
      return act({ at: pathOf(handle, folder), handle, stats });
    } finally {
      closeSync(handle);
    }
  };
  if (!inside) return open(folder, statSync(above).uid);
  return inFolder(above, ({ at, stats }) => open(`${at}/${basename(folder)}`, stats.uid));
}

/** A path of an open directory, wherever it is moved. Systems without /proc have none. */
export const pathOf = (handle: number, path: string): string =>
  existsSync('/proc/self/fd') ? `/proc/self/fd/${handle}/.` : path;

/** Opens what is no link; the system says of one that it is no directory, or a loop. */
function opened(path: string, flags: number, shown: string): number {
  try {
    return openSync(path, flags | O_NOFOLLOW, 0o600);
  } catch (error) {
    if (!lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink()) throw error;
    throw new Failure(`${shown} is a symbolic link: not followed`, {
      next: `see who made it (ls -l ${shown}), and remove it`,
      cause: error,
    });
  }
}

function refuseStranger(path: string, { uid }: Stats, owner: number): void {
  if (!isRoot || uid === 0 || uid === owner) return;
  throw new Failure(`${path} belongs to user ${uid}, not to user ${owner} or root: not used`, {
    next: `see who made it, and remove it or give it away: chown -R ${owner} ${path}`,
  });
}

/** Opens a file of a folder that is held, and sees that it is one, and not root's under a second name. */
function openIn({ at, stats }: Held, file: string, flags: number): number {
  const path = `${at}/${basename(file)}`;
  const handle = opened(path, flags | O_NONBLOCK, file);
  try {
    const found = fstatSync(handle);
    if (!found.isFile() || (isRoot && found.nlink > 1 && found.uid !== stats.uid))
      throw new Failure(`${file} is no regular file of one name: not used`, {
        next: 'see who made it, and remove it',
      });
    refuseStranger(file, found, stats.uid);
    return handle;
  } catch (error) {
    closeSync(handle);
    throw error;
  }
}

/** Makes a file of a folder that is held, the folder's owner's. @throws EEXIST, also for a link */
function createIn(held: Held, file: string): number {
  const handle = openSync(`${held.at}/${basename(file)}`, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
  if (isRoot) fchownSync(handle, held.stats.uid, held.stats.gid);
  return handle;
}

/** Makes an empty file, owned as its folder is, where there is none. */
function ensureFile(file: string, content = ''): void {
  inFolder(dirname(file), (held) => {
    let handle: number;
    try {
      handle = createIn(held, file);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      return closeSync(openIn(held, file, O_RDONLY));
    }
    writeAll(handle, Buffer.from(content));
    closeSync(handle);
  });
}

/** What a file of the state folder holds; undefined where there is none. */
export function readKept(file: string): Buffer | undefined {
  try {
    return inFolder(dirname(file), (held) => {
      const handle = openIn(held, file, O_RDONLY);
      try {
        return readFileSync(handle);
      } finally {
        closeSync(handle);
      }
    });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** Adds a line to a file; one that a full disk had cut off before does not swallow it. */
export function appendLine(file: string, line: string): void {
  ensureFile(file);
  inFolder(dirname(file), (held) => {
    const handle = openIn(held, file, O_RDWR | O_APPEND);
    try {
      const { size } = fstatSync(handle);
      const last = Buffer.alloc(1);
      if (size > 0) readSync(handle, last, 0, 1, size - 1);
      writeAll(handle, Buffer.from(`${size > 0 && last.toString() !== '\n' ? '\n' : ''}${line}\n`));
      fsyncSync(handle);
    } finally {
      closeSync(handle);
    }
  });
}

/**
 * Replaces a file of the state folder as a whole, for its owner alone; a power cut leaves the old one or the new
 * one. It belongs to the folder's owner, also when root writes it.
 */
export function writeWhole(file: string, parts: Iterable<string | Uint8Array>): void {
  inFolder(dirname(file), (held) => {
    const name = `${held.at}/${basename(file)}`;
    rmSync(`${name}.new`, { force: true });
    const handle = createIn(held, `${file}.new`);
    try {
      for (const chunk of gathered(parts)) writeAll(handle, chunk);
      fsyncSync(handle);
    } finally {
      closeSync(handle);
    }
    renameSync(`${name}.new`, name);
    fsyncSync(held.handle);
  });
}

/** A folder in another, owned as that is. */
export function folderIn(above: string, name: string): string {
  const folder = `${above}/${name}`;
  inFolder(above, ({ at, stats }) => {
    try {
      mkdirSync(`${at}/${name}`, { mode: 0o700 });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EEXIST') return;
      throw error;
    }
    const handle = openSync(`${at}/${name}`, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    if (isRoot) fchownSync(handle, stats.uid, stats.gid);
    closeSync(handle);
  });
  return folder;
}

/** Removes the files of a folder that `kept` does not name. */
export function removeOthers(folder: string, kept: (name: string) => boolean): void {
  if (!existsSync(folder)) return;
  inFolder(folder, ({ at }) => {
    for (const name of readdirSync(at)) if (!kept(name)) rmSync(`${at}/${name}`, { force: true });
  });
}

/** Removes a file of the state folder. */
export function removeKept(file: string): void {
  inFolder(dirname(file), ({ at }) => rmSync(`${at}/${basename(file)}`, { force: true }));
}

/** The same bytes in chunks of a size that is worth a call. */
export function* gathered(parts: Iterable<string | Uint8Array>): Generator<Buffer> {
  let chunks: Uint8Array[] = [];
  let size = 0;
  for (const part of parts) {
    const bytes = typeof part === 'string' ? Buffer.from(part) : part;
    chunks.push(bytes);
    size += bytes.byteLength;
    if (size < CHUNK) continue;
    yield Buffer.concat(chunks);
    chunks = [];
    size = 0;
  }
  if (size > 0) yield Buffer.concat(chunks);
}

function writeAll(handle: number, chunk: Buffer): void {
  for (let at = 0; at < chunk.length; ) at += writeSync(handle, chunk, at);
}

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
export const asOwner = (directory: string, command: Command): Command =>
  cmd`sh -c ${`${AS}\nas "$@"`} as ${directory} ${command}`;

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
  return host.run(cmd`sh -c ${MAKE_FILE} state ${appDir} ${name}`);
}
