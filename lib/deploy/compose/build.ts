import { type Command, CommandFailure } from '../../command.ts';
import { EXIT, Failure } from '../../failure.ts';
import type { DeploySettings } from '../settings.ts';
import type { Pin, Prospect, Release } from '../strategy.ts';
import { type ComposeApp, imageOf, type Model, servicesOf } from './app.ts';
import { findCommit, gitCommand, moveCommand } from './checkout.ts';
import type { Container } from './containers.ts';
import { localImage } from './image.ts';
import { refuseNoMigration, refuseUnrollable } from './preflight.ts';
import { changesOf, switchPlan } from './prospect.ts';

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
    await app.host.run({ argv: ['sh', '-c', LINK, 'link', app.dir, tree, missing] });
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
  await host.uninterrupted.run({ argv: ['rm', '-rf', `${dir}/${TREE}`] });
  await host.uninterrupted.run(gitCommand(dir, 'worktree', 'prune'));
}
