import { Failure } from '../../failure.ts';
import { type BytePath, shown, some } from './paths.ts';
import { isRefusal } from './walk.ts';

/** Names what may not be read. */
export function refusal(name: string, paths: readonly BytePath[]): Failure {
  const user = process.getuid?.();
  return new Failure(
    `${name}: ${paths.length} of its files and directories may not be read by user ${user}: ${some(paths.map((path) => shown(path || '.')))}`,
    { next: 'run it as their owner or as root, or let this user read them' },
  );
}

/** What a file system call threw about the directory as a whole. */
export function unreadable(name: string, directory: string, error: unknown): unknown {
  const { code, syscall } = error as NodeJS.ErrnoException;
  if (syscall === undefined) return error;
  if (code === 'ENOENT') {
    return new Failure(`${name}: ${directory} is not there`, {
      next: 'create or mount it, or correct BACKUP_DIRECTORIES',
      cause: error,
    });
  }
  if (code === 'ENOTDIR') {
    return new Failure(`${name}: ${directory} is not a directory`, {
      next: 'correct BACKUP_DIRECTORIES',
      cause: error,
    });
  }
  if (isRefusal(error)) return refusal(name, ['']);
  return new Failure(`${name}: ${directory} cannot be read (${code})`, {
    next: 'check the disk',
    cause: error,
  });
}
