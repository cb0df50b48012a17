import { type Command, CommandFailure } from '../../command.ts';
import { EXIT, Failure } from '../../failure.ts';
import type { Host } from '../../host.ts';

/** root must not leave files in the checkout of another user, and has none of that user's keys. */
const AS_OWNER = `dir=$1; shift
owner=$(stat -c %U "$dir")
if [ "$(id -u)" = 0 ] && [ "$owner" != root ]; then exec runuser -u "$owner" -- git -C "$dir" "$@"; fi
exec git -C "$dir" "$@"`;

export const gitCommand = (dir: string, ...args: string[]): Command => ({
  argv: ['sh', '-c', AS_OWNER, 'git', dir, ...args],
  env: { GIT_TERMINAL_PROMPT: '0', LC_ALL: 'C' },
});

/** The git checkout that an app's directory is. */
export interface Checkout {
  /** The branch that HEAD is on, and the one that it follows. */
  branch: string;
  upstream: string;
  head: string;
}

/** The commit of an app's directory; undefined where it is no checkout. */
export async function headOf(host: Host, dir: string): Promise<string | undefined> {
  return quietly(host, gitCommand(dir, 'rev-parse', '--verify', '--quiet', 'HEAD'));
}

/** What a git command prints; undefined where it exits with another code than 0. */
async function quietly(host: Host, command: Command): Promise<string | undefined> {
  try {
    return (await host.run(command)).trim();
  } catch (error) {
    if (error instanceof CommandFailure && error.code !== null) return undefined;
    throw error;
  }
}

/**
 * Fetches, and resolves the commit.
 * @throws Failure when the directory is no checkout of a branch, has changes, or the commit is not of its branch
 */
export async function findCommit(
  host: Host,
  dir: string,
  wanted: string,
): Promise<{ commit: string; checkout: Checkout }> {
  const checkout = await checkoutOf(host, dir);
  const changed = (await host.run(gitCommand(dir, 'status', '--porcelain', '--untracked-files=no'))).trim();
  if (changed !== '')
    throw new Failure(
      `${dir} on ${host.name} has changes that are in no commit: ${changed
        .split('\n')
        .map((line) => line.trim())
        .join(', ')}`,
      {
        next: `commit them elsewhere, or give them up: git -C ${dir} stash`,
      },
    );
  await fetchOrFail(host, dir);
  const commit = await quietly(
    host,
    gitCommand(dir, 'rev-parse', '--verify', '--quiet', `${wanted}^{commit}`),
  );
  if (commit === undefined)
    throw new Failure(`${dir} has no commit ${wanted}, also after git fetch`, {
      exit: EXIT.usage,
      next: 'push it, or name another',
    });
  const { upstream, branch } = checkout;
  const isOurs = await quietly(host, gitCommand(dir, 'merge-base', '--is-ancestor', commit, upstream));
  if (isOurs !== undefined) return { commit, checkout };
  throw new Failure(`${wanted} is not on ${upstream}, which the branch ${branch} of ${dir} follows`, {
    exit: EXIT.usage,
    next: 'merge it first: the next git pull would not lead on from it',
  });
}

async function checkoutOf(host: Host, dir: string): Promise<Checkout> {
  const head = await headOf(host, dir);
  if (head === undefined)
    throw new Failure(`${dir} on ${host.name} is no git checkout`, {
      exit: EXIT.usage,
      next: 'deploy an image instead, or clone the app there',
    });
  const branch = await quietly(host, gitCommand(dir, 'symbolic-ref', '--short', 'HEAD'));
  if (branch === undefined)
    throw new Failure(`${dir} on ${host.name} is at ${head.slice(0, 12)} and on no branch`, {
      next: `put it on its branch: git -C ${dir} checkout main`,
    });
  const upstream = await quietly(host, gitCommand(dir, 'rev-parse', '--abbrev-ref', `${branch}@{upstream}`));
  if (upstream === undefined)
    throw new Failure(`the branch ${branch} of ${dir} follows no branch of a remote`, {
      next: `git -C ${dir} branch --set-upstream-to origin/${branch}`,
    });
  return { branch, upstream, head };
}

async function fetchOrFail(host: Host, dir: string): Promise<void> {
  try {
    await host.run(gitCommand(dir, 'fetch', '--quiet'));
  } catch (error) {
    if (!(error instanceof CommandFailure)) throw error;
    throw new Failure(`${dir} on ${host.name} cannot fetch: ${error.words}`, {
      next: `try it there: git -C ${dir} fetch`,
      cause: error,
    });
  }
}

/**
 * Moves the branch itself to the commit, and the files with it: HEAD stays on the branch, so that the next `git pull`
 * leads on from there. Files with local changes are not touched, git refuses first.
 */
export const moveCommand = (dir: string, commit: string): Command =>
  gitCommand(dir, 'reset', '--quiet', '--keep', commit);
