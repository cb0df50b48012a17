import { EXIT, Failure } from '../failure.ts';
import { type Command, CommandFailure, cmd, type Host } from '../shell.ts';
import { type ComposeApp, imageOf, type Model, servicesOf } from './compose-app.ts';
import type { Container } from './compose-containers.ts';
import { localImage } from './compose-image.ts';
import { changesOf, refuseNoMigration, refuseUnrollable, switchPlan } from './compose-preflight.ts';
import type { Pin, Prospect, Release } from './deployment.ts';
import type { DeploySettings } from './settings.ts';

/** root must not leave files in the checkout of another user, and has none of that user's keys. */
const AS_OWNER = `dir=$1; shift
owner=$(stat -c %U "$dir")
if [ "$(id -u)" = 0 ] && [ "$owner" != root ]; then exec runuser -u "$owner" -- git -C "$dir" "$@"; fi
exec git -C "$dir" "$@"`;

const gitCommand = (dir: string, ...args: string[]): Command => ({
  ...cmd`sh -c ${AS_OWNER} git ${dir} ${args}`,
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

/** So many digits of a commit name an image, as git itself would shorten it in a very large repository. */
const DIGITS = 12;

/** Another working tree of the checkout: what runs now keeps its files while the next version is built. */
const TREE = '.opsbook/build';

/** A commit of the checkout, to be built on the host, under a name of its own: one can go back to it. */
export async function prospectOfCommit(
  app: ComposeApp,
  model: Model,
  settings: DeploySettings,
  wanted: string,
  running: ReadonlyMap<string, readonly Container[]>,
): Promise<Prospect> {
  const services = [...servicesOf(model, settings.IMAGE).keys()];
  await refuseUnrollable(model, settings.ROLLOUT_SERVICES ?? [], services);
  refuseNoMigration(settings, services);
  const unbuilt = services.filter((name) => !model.services[name]?.build);
  if (unbuilt.length > 0)
    throw new Failure(`--commit: ${unbuilt.join(', ')} have no build in the compose files`, {
      exit: EXIT.usage,
      next: 'deploy a version of their image instead',
    });
  const commit = await findCommit(app.host, app.dir, wanted);
  const version = commit.slice(0, DIGITS);
  const names = new Map(services.map((name) => [name, `${bare(imageOf(model, name))}:${version}`]));
  const build = buildCommand(app, services, commit);
  return {
    ...{ version, commit },
    changes: changesOf(names, running),
    plan: {
      obtain: [gitCommand(app.dir, 'worktree', 'add', '--detach', TREE, commit), build],
      migrate: [],
      switch: [moveCommand(app.dir, commit), ...switchPlan(app, settings.ROLLOUT_SERVICES ?? [], running)],
    },
    obtain: () => buildRelease(app, { version, commit }, names, build),
  };
}

const bare = (image: string) => image.replace(/[:@][^/]*$/, '');

function buildCommand(app: ComposeApp, services: readonly string[], commit: string): Command {
  const known = ['--build-arg', `COMMIT=${commit}`, '--build-arg', `VERSION=${commit.slice(0, DIGITS)}`];
  return app.buildIn(`${app.dir}/${TREE}`, 'build', '--quiet', ...known, ...services);
}

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
  for (const [service, reference] of names) {
    const built = await localImage(host, reference);
    if (!built) throw new Failure(`${reference} was built, and is not there`);
    images[service] = { reference, id: built.id };
  }
  return { ...named, images };
}

/** $1 is the app's directory, $2 the tree, $3 a file of the tree that git does not know: there is none unless the app has it. */
const LINK = `[ -e "$1/$3" ] || exit 0
mkdir -p "$(dirname "$2/$3")" && ln -s "$1/$3" "$2/$3"`;

/**
 * Compose reads the files of `env_file:` for a build too, and those with secrets are in no commit. It tells of one at a
 * time. They are linked, so that no build has in its image what they hold.
 */
async function linkEnvFiles(app: ComposeApp): Promise<void> {
  const tree = `${app.dir}/${TREE}`;
  let before: string | undefined;
  for (;;) {
    const missing = await missingIn(app, tree);
    // One that the app does not have either is the build's to tell of.
    if (missing === undefined || missing === before) return;
    await app.host.run(cmd`sh -c ${LINK} link ${app.dir} ${tree} ${missing}`);
    before = missing;
  }
}

/** The file below the tree that Compose did not find; undefined when it is content, or wants something else. */
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
