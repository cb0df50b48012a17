import { chownSync, existsSync, mkdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Failure } from './failure.ts';
import type { Host } from './host.ts';

/**
 * The folder in which opsbook keeps what it must remember about an app on its host: `APP_DIR/.opsbook`, for its
 * owner alone, unseen by git, and never owned by a root who ran a script once by hand.
 */
export function stateDirectory(appDir: string): string {
  const folder = join(appDir, '.opsbook');
  try {
    const { uid, gid } = statSync(appDir);
    ensure(folder, uid, gid, () => mkdirSync(folder, { recursive: true, mode: 0o700 }));
    const ignore = join(folder, '.gitignore');
    ensure(ignore, uid, gid, () => writeFileSync(ignore, '*\n', { mode: 0o600 }));
  } catch (error) {
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
  const { uid, gid } = statSync(folder);
  // Appending nothing: another run may have made it, and written to it, since it was looked for.
  ensure(path, uid, gid, () => writeFileSync(path, '', { mode: 0o600, flag: 'a' }));
  return path;
}

function ensure(path: string, uid: number, gid: number, create: () => void): void {
  if (existsSync(path)) return;
  create();
  if (process.getuid?.() === 0) chownSync(path, uid, gid);
}

/** What {@link stateFile} does here, as a shell does it on another host; it prints the file's path. */
const MAKE_FILE = `d=$1/.opsbook; umask 077
[ -d "$1" ] || { echo "$1 is not there; correct APP_DIR" >&2; exit 1; }
mkdir -p "$d" && { [ -e "$d/.gitignore" ] || echo '*' > "$d/.gitignore"; } && : >> "$d/$2" || exit 1
[ "$(id -u)" != 0 ] || chown "$(stat -c %u:%g "$1")" "$d" "$d/.gitignore" "$d/$2"
printf %s "$d/$2"`;

/** The file `name` of the state folder on `host`, made if it is not there. */
export async function stateFileOn(host: Host, appDir: string, name: string): Promise<string> {
  if (host.target === 'local') return stateFile(stateDirectory(appDir), name);
  return host.run({ argv: ['sh', '-c', MAKE_FILE, 'state', appDir, name] });
}
