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
interface Checkout {
  /** The branch that HEAD is on, and the one that it follows. */
  branch: string;
  upstream: string;
  /** Where that one is. */
  remote: string;
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
 * Fetches, and resolves what is named as the remote has it: a branch is its upstream, a tag is a tag, a commit is a
 * commit.
 * @throws Failure when the directory is no checkout of a branch, has changes, the name is of two things, or the commit
 * is not of its branch
 */
export async function findCommit(host: Host, dir: string, wanted: string): Promise<string> {
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
  await fromRemote(host, dir, 'fetch', '--quiet');
  // `main~1` is one of the upstream's as well.
  const [, name = '', path = ''] = /^([^~^@:]*)(.*)$/s.exec(wanted) ?? [];
  const ref = await refOf(host, dir, name, checkout.remote);
  const commit = await quietly(
    host,
    gitCommand(dir, 'rev-parse', '--verify', '--quiet', `${ref}${path}^{commit}`),
  );
  if (commit === undefined)
    throw new Failure(`${dir} has no commit ${wanted}, also after git fetch`, {
      exit: EXIT.usage,
      next: 'push it, or name another',
    });
  const { upstream, branch } = checkout;
  const isOurs = await quietly(host, gitCommand(dir, 'merge-base', '--is-ancestor', commit, upstream));
  if (isOurs !== undefined) return commit;
  throw new Failure(`${wanted} is not on ${upstream}, which the branch ${branch} of ${dir} follows`, {
    exit: EXIT.usage,
    next: 'merge it first: the next git pull would not lead on from it',
  });
}

/** What a name may stand for. */
interface Named {
  name: string;
  /** Where it is looked up: a branch may follow one of another name, or of another remote. */
  from: string;
  branch: string;
  tag: string;
  is: { branch: boolean; tag: boolean; commit: boolean };
  /** The tag is at the remote, and not in the clone alone. */
  pushed: boolean;
}

async function named(host: Host, dir: string, name: string, usual: string): Promise<Named> {
  const git = (...args: string[]) => quietly(host, gitCommand(dir, ...args));
  const plain = name.replace(/^refs\/(heads|tags)\//, '').replace(RegExp(`^${RegExp.escape(usual)}/`), '');
  const follows = plain === name ? await git('config', `branch.${plain}.merge`) : undefined;
  const from = (follows && (await git('config', `branch.${plain}.remote`))) || usual;
  const [branch, tag] = [follows ?? `refs/heads/${plain}`, `refs/tags/${plain}`];
  const listed = await fromRemote(host, dir, 'ls-remote', from, branch, tag);
  const there: string[] = listed.match(/refs\/\S+/g) ?? [];
  const maybeTag = name === plain || name === tag;
  const is = {
    branch: name !== tag && there.includes(branch),
    tag: maybeTag && (there.includes(tag) || (await isRef(host, dir, tag))),
    commit: /^[\da-f]{4,39}$/.test(name) && !!(await git('rev-parse', `--disambiguate=${name}`)),
  };
  return { name, from, branch, tag, is, pushed: there.includes(tag) };
}

const isRef = async (host: Host, dir: string, ref: string): Promise<boolean> =>
  (await quietly(host, gitCommand(dir, 'rev-parse', '--verify', '--quiet', ref))) !== undefined;

/**
 * The ref that a name stands for, as the remote has it now; the name itself where it is no branch and no tag.
 * @throws Failure when it is both, or a branch of the clone alone
 */
async function refOf(host: Host, dir: string, name: string, usual: string): Promise<string> {
  if (name === '' || name === 'HEAD') return name;
  const { from, branch, tag, is, pushed } = await named(host, dir, name, usual);
  const meanings = Object.entries(is).flatMap(([kind, yes]) => (yes ? [kind] : []));
  if (meanings.length > 1)
    throw new Failure(`${name} is a ${meanings.join(' and a ')}`, {
      exit: EXIT.usage,
      next: `name the whole commit, or ${[...(is.branch ? [branch] : []), ...(is.tag ? [tag] : [])].join(' or ')}`,
    });
  if (is.branch) {
    const tracked = `refs/remotes/${from}/${branch.replace('refs/heads/', '')}`;
    // A clone of a single branch fetches no other by itself.
    await fromRemote(host, dir, 'fetch', '--quiet', from, `+${branch}:${tracked}`);
    return tracked;
  }
  if (pushed && is.tag) await fromRemote(host, dir, 'fetch', from, `${tag}:${tag}`);
  if (is.tag) return tag;
  if (/^(refs|[^/]+)\//.test(name) || (await isRef(host, dir, `refs/heads/${name}`)))
    throw new Failure(`${from} has no ${name}, whatever ${dir} has`, {
      exit: EXIT.usage,
      next: 'push it, or name a commit',
    });
  return name;
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
  const [upstream, remote] = await Promise.all([
    quietly(host, gitCommand(dir, 'rev-parse', '--abbrev-ref', `${branch}@{upstream}`)),
    quietly(host, gitCommand(dir, 'config', `branch.${branch}.remote`)),
  ]);
  if (upstream === undefined || remote === undefined || remote === '.')
    throw new Failure(`the branch ${branch} of ${dir} follows no branch of a remote`, {
      next: `git -C ${dir} branch --set-upstream-to origin/${branch}`,
    });
  return { branch, upstream, remote };
}

/** What was fetched once is not what the remote has: without it nothing is known. @throws Failure that says why */
async function fromRemote(host: Host, dir: string, ...args: string[]): Promise<string> {
  try {
    return await host.run(gitCommand(dir, ...args));
  } catch (error) {
    if (!(error instanceof CommandFailure)) throw error;
    const moved = /would clobber existing tag/.test(error.stderr);
    throw new Failure(
      moved
        ? `the tag ${args.at(-1)?.split('/').at(-1)} is another commit in ${dir} on ${host.name} than at ${args.at(-2)}`
        : `${dir} on ${host.name} cannot fetch: ${error.words}`,
      {
        next: moved
          ? `name the commit, or take theirs: git -C ${dir} fetch --force ${args.at(-2)} ${args.at(-1)}`
          : `try it there: git -C ${dir} ${args.join(' ')}`,
        cause: error,
      },
    );
  }
}

/**
 * Moves the branch itself to the commit, and the files with it: HEAD stays on the branch, so that the next `git pull`
 * leads on from there. Files with local changes are not touched, git refuses first.
 */
export const moveCommand = (dir: string, commit: string): Command =>
  gitCommand(dir, 'reset', '--quiet', '--keep', commit);
