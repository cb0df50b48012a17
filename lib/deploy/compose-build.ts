import { type Command, CommandFailure, cmd } from '../command.ts';
import { EXIT, Failure } from '../failure.ts';
import type { Host } from '../shell.ts';
import { type ComposeApp, imageOf, type Model, servicesOf } from './compose-app.ts';
import type { Running } from './compose-containers.ts';
import { localImage, pinOf } from './compose-image.ts';
import { changesOf, refuseNoMigration, refuseUnrollable } from './compose-preflight.ts';
import { switchPlan } from './compose-switch.ts';
import type { Pin, Plan, Release } from './deployment.ts';

/** root must not leave files in the checkout of another user, and has none of that user's keys. */
const AS_OWNER = `dir=$1; shift
owner=$(stat -c %U "$dir")
if [ "$(id -u)" = 0 ] && [ "$owner" != root ]; then exec runuser -u "$owner" -- git -C "$dir" "$@"; fi
exec git -C "$dir" "$@"`;

const gitCommand = (dir: string, ...args: string[]): Command => ({
  ...cmd`sh -c ${AS_OWNER} git ${dir} ${args}`,
  env: { GIT_TERMINAL_PROMPT: '0', LC_ALL: 'C' },
});

/** The commit of an app's directory; undefined where it is not a checkout. */
export const headOf = (host: Host, dir: string): Promise<string | undefined> =>
  quietly(host, gitCommand(dir, 'rev-parse', '--verify', '--quiet', 'HEAD'));

/** What a git command prints; undefined where it exits with another code than 0. */
async function quietly(host: Host, command: Command): Promise<string | undefined> {
  try {
    return (await host.run(command)).trim();
  } catch (error) {
    if (error instanceof CommandFailure && error.code !== null) return undefined;
    throw error;
  }
}

/** The git checkout that an app's directory is. */
interface Checkout {
  host: Host;
  dir: string;
  /** What a git command prints; undefined where it exits with another code than 0. */
  git(...args: string[]): Promise<string | undefined>;
  /** The branch that HEAD is on, and the one that it follows. */
  branch: string;
  upstream: string;
  /** Where that one is. */
  remote: string;
}

/**
 * Fetches, and resolves what is named as the remote has it: a branch is its upstream, a tag is a tag, a commit is a
 * commit.
 * @throws Failure when the directory is not a checkout of a branch, has changes, the name is ambiguous, or the commit
 * is not on its branch
 */
export async function findCommit(host: Host, dir: string, name: string): Promise<string> {
  const checkout = await checkoutOf(host, dir);
  const { git, upstream, branch } = checkout;
  const changed = await host.$`${gitCommand(dir, 'status', '--porcelain', '--untracked-files=no')}`.lines();
  if (changed.length > 0)
    throw new Failure(
      `${dir} on ${host.name} has changes that are in no commit: ${changed.map((line) => line.trim()).join(', ')}`,
      { next: `commit them elsewhere, or put them aside: git -C ${dir} stash` },
    );
  await fromRemote(checkout, 'fetch', '--quiet');
  // `main~1` is one of the upstream's as well.
  const [, base = '', path = ''] = /^([^~^@:]*)(.*)$/s.exec(name) ?? [];
  const ref = await refOf(checkout, base);
  const commit = await git('rev-parse', '--verify', '--quiet', `${ref}${path}^{commit}`);
  if (commit === undefined)
    throw new Failure(`${dir} has no commit ${name}, also after git fetch`, {
      exit: EXIT.usage,
      next: 'push it, or name another',
    });
  if ((await git('merge-base', '--is-ancestor', commit, upstream)) !== undefined) return commit;
  throw new Failure(`${name} is not on ${upstream}, which the branch ${branch} of ${dir} follows`, {
    exit: EXIT.usage,
    next: 'merge it first: the next git pull would not lead on from it',
  });
}

/**
 * The ref that a name stands for, as the remote has it now; the name itself where it is neither a branch nor a tag.
 * @throws Failure when it is both, or a branch of the clone alone
 */
async function refOf(checkout: Checkout, name: string): Promise<string> {
  if (name === '' || name === 'HEAD') return name;
  const { dir, git } = checkout;
  const { remote, branch, tag, is, isPushed } = await meaningsOf(checkout, name);
  const meanings = Object.entries(is).flatMap(([kind, yes]) => (yes ? [kind] : []));
  if (meanings.length > 1)
    throw new Failure(`${name} is a ${meanings.join(' and a ')}`, {
      exit: EXIT.usage,
      next: `name the whole commit, or ${[...(is.branch ? [branch] : []), ...(is.tag ? [tag] : [])].join(' or ')}`,
    });
  if (is.branch) {
    const tracked = `refs/remotes/${remote}/${branch.replace('refs/heads/', '')}`;
    // A clone of a single branch fetches no other by itself.
    await fromRemote(checkout, 'fetch', '--quiet', remote, `+${branch}:${tracked}`);
    return tracked;
  }
  if (isPushed && is.tag) await fromRemote(checkout, 'fetch', remote, `${tag}:${tag}`);
  if (is.tag) return tag;
  if (/^(refs|[^/]+)\//.test(name) || (await isRef(git, `refs/heads/${name}`)))
    throw new Failure(`${remote} has no ${name}, whatever ${dir} has`, {
      exit: EXIT.usage,
      next: 'push it, or name a commit',
    });
  return name;
}

/** What a name may stand for: a branch may follow one of another name, or of another remote. */
async function meaningsOf(checkout: Checkout, name: string) {
  const { git, remote: usual } = checkout;
  const plain = name.replace(/^refs\/(heads|tags)\//, '').replace(RegExp(`^${RegExp.escape(usual)}/`), '');
  const follows = plain === name ? await git('config', `branch.${plain}.merge`) : undefined;
  const remote = (follows && (await git('config', `branch.${plain}.remote`))) || usual;
  const [branch, tag] = [follows ?? `refs/heads/${plain}`, `refs/tags/${plain}`];
  const listed = await fromRemote(checkout, 'ls-remote', remote, branch, tag);
  const there: string[] = listed.match(/refs\/\S+/g) ?? [];
  // The tag may be in the clone alone.
  const isPushed = there.includes(tag);
  const is = {
    branch: name !== tag && there.includes(branch),
    tag: (name === plain || name === tag) && (isPushed || (await isRef(git, tag))),
    commit: /^[\da-f]{4,39}$/.test(name) && !!(await git('rev-parse', `--disambiguate=${name}`)),
  };
  return { remote, branch, tag, is, isPushed };
}

const isRef = async (git: Checkout['git'], ref: string): Promise<boolean> =>
  (await git('rev-parse', '--verify', '--quiet', ref)) !== undefined;

async function checkoutOf(host: Host, dir: string): Promise<Checkout> {
  const git = (...args: string[]) => quietly(host, gitCommand(dir, ...args));
  const head = await headOf(host, dir);
  if (head === undefined)
    throw new Failure(`${dir} on ${host.name} is not a git checkout`, {
      exit: EXIT.usage,
      next: 'deploy an image instead, or clone the app there',
    });
  const branch = await git('symbolic-ref', '--short', 'HEAD');
  if (branch === undefined)
    throw new Failure(`${dir} on ${host.name} is at ${head.slice(0, 12)} and on no branch`, {
      next: `put it on its branch: git -C ${dir} checkout main`,
    });
  const [upstream, remote] = await Promise.all([
    git('rev-parse', '--abbrev-ref', `${branch}@{upstream}`),
    git('config', `branch.${branch}.remote`),
  ]);
  if (upstream === undefined || remote === undefined || remote === '.')
    throw new Failure(`the branch ${branch} of ${dir} follows no branch of a remote`, {
      next: `git -C ${dir} branch --set-upstream-to origin/${branch}`,
    });
  return { host, dir, git, branch, upstream, remote };
}

/** What was fetched once is not what the remote has: without it nothing is known. @throws Failure that says why */
async function fromRemote({ host, dir }: Checkout, ...args: string[]): Promise<string> {
  try {
    return await host.run(gitCommand(dir, ...args));
  } catch (error) {
    if (!(error instanceof CommandFailure)) throw error;
    const [from, ref] = args.slice(-2);
    if (/would clobber existing tag/.test(error.stderr))
      throw new Failure(
        `the tag ${ref?.split('/').at(-1)} is another commit in ${dir} on ${host.name} than at ${from}`,
        { next: `name the commit, or take theirs: git -C ${dir} fetch --force ${from} ${ref}`, cause: error },
      );
    throw new Failure(`${dir} on ${host.name} cannot fetch: ${error.words}`, {
      next: `try it there: git -C ${dir} ${args.join(' ')}`,
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

/** So many digits of a commit name an image, as git itself would shorten it in a very large repository. */
const DIGITS = 12;

/** Another working tree of the checkout: what runs now keeps its files while the next version is built. */
const TREE = '.opsbook/build';

/** A commit of the checkout, to be built on the host under a name of its own, so that one can roll back to it. */
export async function planOfCommit(
  app: ComposeApp,
  model: Model,
  name: string,
  running: Running,
): Promise<Plan> {
  const services = [...servicesOf(model, app.settings.IMAGE).keys()];
  await refuseUnrollable(app, model, services);
  refuseNoMigration(app, services);
  const unbuilt = services.filter((service) => !model.services[service]?.build);
  if (unbuilt.length > 0)
    throw new Failure(`--commit: ${unbuilt.join(', ')} have no build in the compose files`, {
      exit: EXIT.usage,
      next: 'deploy a version of their image instead',
    });
  const commit = await findCommit(app.host, app.dir, name);
  const version = commit.slice(0, DIGITS);
  const names = new Map(services.map((one) => [one, `${bare(imageOf(model, one))}:${version}`]));
  const args = ['--build-arg', `COMMIT=${commit}`, '--build-arg', `VERSION=${version}`, ...services];
  const build = app.buildIn(`${app.dir}/${TREE}`, 'build', '--quiet', ...args);
  return {
    ...{ version, commit },
    changes: changesOf(names, running),
    commands: {
      obtain: [gitCommand(app.dir, 'worktree', 'add', '--detach', TREE, commit), build],
      migrate: [],
      switch: [moveCommand(app.dir, commit), ...switchPlan(app, running)],
    },
    obtain: () => buildRelease(app, { version, commit }, names, build),
  };
}

const bare = (image: string) => image.replace(/[:@][^/]*$/, '');

async function buildRelease(
  app: ComposeApp,
  named: { version: string; commit: string },
  names: ReadonlyMap<string, string>,
  build: Command,
): Promise<Release> {
  const { host, dir } = app;
  const there = await Promise.all([...names.values()].map((name) => localImage(host, name)));
  if (there.includes(undefined)) {
    const services = Object.fromEntries([...names].map(([service, image]) => [service, { image }]));
    await app.files.write('build.yml', JSON.stringify({ services }));
    await clear(app);
    try {
      await host.run(gitCommand(dir, 'worktree', 'add', '--quiet', '--detach', TREE, named.commit));
      await linkEnvFiles(app);
      await host.run(build);
    } finally {
      await clear(app);
    }
  }
  const images: Record<string, Pin> = {};
  for (const [service, reference] of names) images[service] = await pinOf(host, reference, 'built');
  return { ...named, images };
}

/** $1 is the app's directory, $2 the tree, $3 a file of the tree that git does not know: there is none unless the app has it. */
const LINK = `[ -e "$1/$3" ] || exit 0
mkdir -p "$(dirname "$2/$3")" && ln -s "$1/$3" "$2/$3"`;

/**
 * Compose reads the files of `env_file:` for a build too, and those with secrets are in no commit. It names one at a
 * time. They are linked, so that no build has in its image what they hold.
 */
async function linkEnvFiles(app: ComposeApp): Promise<void> {
  const tree = `${app.dir}/${TREE}`;
  let before: string | undefined;
  for (;;) {
    const missing = await missingIn(app, tree);
    // The build itself reports one that the app does not have either.
    if (missing === undefined || missing === before) return;
    await app.host.run(cmd`sh -c ${LINK} link ${app.dir} ${tree} ${missing}`);
    before = missing;
  }
}

/** The file below the tree that Compose did not find; undefined when it found all, or fails for something else. */
async function missingIn({ host, buildIn }: ComposeApp, tree: string): Promise<string | undefined> {
  try {
    await host.run(buildIn(tree, 'config', '--quiet'));
    return undefined;
  } catch (error) {
    if (!(error instanceof CommandFailure)) throw error;
    return new RegExp(`${RegExp.escape(tree)}/(.+?)(?: not found|: no such file|$)`).exec(error.words)?.[1];
  }
}

/** A build that was cut off leaves its tree. */
async function clear({ host, dir }: ComposeApp): Promise<void> {
  await host.uninterrupted.run(cmd`rm -rf ${`${dir}/${TREE}`}`);
  await host.uninterrupted.run(gitCommand(dir, 'worktree', 'prune'));
}
