import { chownSync, existsSync, mkdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Failure } from './failure.ts';

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
