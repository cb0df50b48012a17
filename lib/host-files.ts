import { createDecipheriv, createHash, pbkdf2Sync, randomBytes } from 'node:crypto';
import { type Command, CommandFailure, cmd } from './command.ts';
import { Failure } from './failure.ts';
import { Secret } from './secret.ts';
import type { Host } from './shell.ts';
import { ENTER } from './state.ts';

const ITERATIONS = 1000;

/** The first line of the input is a key; the command gets the rest, and what it writes is encrypted whole. */
const SEAL = `read -r key
text=$("$@"; code=$?; printf x; exit $code) || exit $?
printf %s "\${text%x}" | key=$key openssl enc -aes-256-ctr -md sha256 -pbkdf2 -iter ${ITERATIONS} -a -pass env:key`;

/**
 * Runs a command that writes secrets, and returns what it wrote. SSM keeps the output of commands for a month where
 * others may read it: there it is encrypted, on the host, with a key of this one run.
 */
export async function runForSecret(host: Host, command: Command, input?: string | Secret): Promise<string> {
  if (!host.target.startsWith('ssm:')) return host.run(command, input);
  const key = randomBytes(32).toString('hex');
  const text = typeof input === 'string' || input === undefined ? (input ?? '') : input.reveal();
  return opened(await host.run(cmd`sh -c ${SEAL} seal ${command}`, new Secret(`${key}\n${text}`)), key);
}

/** What `openssl enc` wrote: `Salted__`, eight bytes of salt, and the text. */
function opened(sealed: string, password: string): string {
  const bytes = Buffer.from(sealed, 'base64');
  const derived = pbkdf2Sync(password, bytes.subarray(8, 16), ITERATIONS, 48, 'sha256');
  const decipher = createDecipheriv('aes-256-ctr', derived.subarray(0, 32), derived.subarray(32));
  return Buffer.concat([decipher.update(bytes.subarray(16)), decipher.final()]).toString('utf8');
}

/** The exit code by which {@link READ} says that there is no such file. */
const ABSENT = 66;

/** A file in a folder that may not be looked into is not absent: `cat` says what it is. */
const READ = `folder=$(dirname "$1")
while [ ! -e "$folder" ] && [ "$folder" != / ]; do folder=$(dirname "$folder"); done
if [ ! -e "$1" ] && [ ! -L "$1" ] && [ -d "$folder" ] && [ -x "$folder" ]; then exit ${ABSENT}; fi
cat "$1"`;

/**
 * Writes a file whole or not at all. The new file, with the owner of the old one and the right mode from its first byte
 * on, is on the disk before it takes the place of the old one. A text that is shorter than it should be was cut off on
 * its way.
 *
 * An app's folder belongs to a user, and root must not be led by him to write elsewhere or to give him root's files: the
 * shell enters the folder first and works from there, in a folder of its own that nobody else may write to.
 */
const WRITE = `${ENTER}
set -eu
umask 077
file=$1 length=$2 name=$(basename "$1") folder=$(dirname "$1")
enter "$folder"
folder=$(stat -c %d:%i .) new=$name.opsbook-new
[ ! -L "$name" ] || fail "$file is a symbolic link: not written"
[ ! -e "$name" ] || [ -f "$name" ] || fail "$file is no regular file: not written"
owner=$(stat -c %u:%g .)
[ ! -e "$name" ] || owner=$(stat -c %u:%g -- "$name")
rm -rf -- "$new"
mkdir -m 700 -- "$new"
cd -P -- "$new"
[ "$(stat -c %d:%i ..)" = "$folder" ] && [ "$(stat -c %u .)" = "$(id -u)" ] ||
  fail "$file: another changes its folder: not written"
trap 'rm -f new; cd ..; rmdir -- "$new" || :' EXIT
trap 'exit 1' HUP INT TERM
set -C
cat > new
[ "$(wc -c < new)" -eq "$length" ] || fail "$file: only a part of it arrived: not written"
[ "$(id -u)" -ne 0 ] && [ ! -e "../$name" ] || [ "$owner" = "$(stat -c %u:%g new)" ] || chown "$owner" new
sync new
mv -fT new "../$name"
sync ..`;

/** The exit code by which {@link OVER} says that the file is another one than was read. */
const CHANGED = 65;
/** So often another may have been faster. */
const EDIT_TRIES = 10;

/** Writes only over the file that was read: one writer after another, each of which looks again. */
const OVER = `exec 9< "$(dirname "$1")" && flock 9 || exit 1
[ "$(cat "$1" 2>/dev/null | sha256sum | cut -c 1-64)" = "$3" ] || exit ${CHANGED}
exec sh -c "$4" write "$1" "$2"`;

/**
 * The text of a file of a host; undefined where there is none.
 * @throws Failure when it may not be read
 */
export async function readHostFile(host: Host, path: string): Promise<string | undefined> {
  try {
    return await runForSecret(host, cmd`sh -c ${READ} read ${path}`);
  } catch (error) {
    if (error instanceof CommandFailure && error.code === ABSENT) return undefined;
    throw unusable(error, `${path} cannot be read`, 'run as a user who may read it, or correct APP_DIR');
  }
}

/**
 * Writes a file of a host whole or not at all: 0600 from its first byte, the owner that it had or else its folder's.
 * The old file stays as it was whatever goes wrong, and a symbolic link is refused. Over SSM nobody sees what it holds.
 * @throws Failure that says why it was not written
 */
export const writeHostFile = (host: Host, path: string, text: string): Promise<void> =>
  write(host, path, text, new Secret(text));

/**
 * The same, but only over what was read of it: what others wrote since then is not lost.
 * @throws Failure when the file is another one by now, or has bytes that a text cannot hold
 */
export async function rewriteHostFile(
  host: Host,
  path: string,
  read: string | undefined,
  text: string,
): Promise<void> {
  // What is no UTF-8 was read as this character, and would be written as it.
  if (read?.includes('\ufffd'))
    throw new Failure(`${path} has bytes that are no UTF-8: not written`, {
      next: 'nothing was changed: write them in UTF-8, then run it again',
    });
  const over = createHash('sha256')
    .update(read ?? '')
    .digest('hex');
  await write(host, path, text, new Secret(text), over);
}

/** Changes a file of a host by what `edit` makes of its text; again where another has written it meanwhile. */
export async function editHostFile(
  host: Host,
  path: string,
  edit: (text: string | undefined) => string,
): Promise<void> {
  for (let tries = 1; ; tries += 1) {
    const read = await readHostFile(host, path);
    try {
      return await rewriteHostFile(host, path, read, edit(read));
    } catch (error) {
      const changed =
        error instanceof Failure && (error.cause as CommandFailure | undefined)?.code === CHANGED;
      if (!changed || tries === EDIT_TRIES) throw error;
    }
  }
}

/** The same for a file without secrets, which over SSM goes by the command itself: kept in its history, and sooner. */
export const writeOpenHostFile = (host: Host, path: string, text: string): Promise<void> =>
  write(host, path, text, text);

async function write(
  host: Host,
  path: string,
  text: string,
  input: string | Secret,
  over?: string,
): Promise<void> {
  const which = [path, String(Buffer.byteLength(text))];
  const write =
    over === undefined
      ? cmd`sh -c ${WRITE} write ${which}`
      : cmd`sh -c ${OVER} write ${which} ${over} ${WRITE}`;
  try {
    await host.run(write, input);
  } catch (error) {
    if (over !== undefined && error instanceof CommandFailure && error.code === CHANGED)
      throw new Failure(`${path} was changed by another run meanwhile: not written`, {
        next: 'nothing was changed by this one: run it again',
        cause: error,
      });
    throw unusable(error, `${path} was not written`, 'nothing was changed: remove the cause, run it again');
  }
}

/** The permission bits of a file of a host. */
export async function hostFileMode(host: Host, path: string): Promise<number> {
  return Number.parseInt(await host.run(cmd`stat -L -c %a ${path}`), 8);
}

/** The command is a whole script, which nobody wants to see again. */
function unusable(error: unknown, what: string, next: string): unknown {
  if (!(error instanceof CommandFailure)) return error;
  // dash begins with the number of the line in the script.
  return new Failure(`${what}: ${error.words.replace(/^\w+: \d+: /, '')}`, { next, cause: error });
}
