import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Context } from '../definition.ts';
import { EXIT, Failure } from '../failure.ts';
import { type Command, cmd, type Host } from '../shell.ts';
import { answer, changedFiles, git } from './git.ts';
import { ecrToken, type Logins, loginCommand, push, pushCommand, pushedDigest } from './registry.ts';
import { type ImageReference, imageText, isTag } from './settings.ts';
import { streamed } from './streamed.ts';

/** What an image is built from, and is called after. */
export interface Identity {
  commit: string;
  /** When the commit was made, ISO 8601: the same commit says the same, whenever it is built. */
  created: string;
  version?: string;
  /** Built from files that are not committed. */
  dirty: boolean;
  /** The version, where there is one, and last the commit. Never `latest`: a tag that moves tells nobody what runs. */
  tags: readonly [string, ...string[]];
}

/** Digits of a commit in a tag. */
const DIGITS = 12;

/**
 * The version that is named, or else the tag of the commit, and the commit. What is built from files that are not
 * committed says so in each tag.
 * @throws Failure when there are such files and nobody allowed that
 */
export async function identify(
  host: Host,
  named: string | undefined,
  allowDirty: boolean,
): Promise<Identity> {
  const commit = (await host.run(git('rev-parse', 'HEAD'))).trim();
  const created = (await host.run(git('show', '--no-patch', '--format=%cI', 'HEAD'))).trim();
  const dirty = (await changedFiles(host)).map((line) => line.slice(3));
  if (dirty.length > 0 && !allowDirty)
    throw new Failure(`not committed: ${dirty.slice(0, 3).join(', ')}${dirty.length > 3 ? ' …' : ''}`, {
      next: 'commit it; to build an image to try out: --allow-dirty',
    });
  const version = (named ?? (await exactTag(host)))?.replace(/^v(?=\d)/, '');
  if (version === 'latest' || (version !== undefined && !isTag(version)))
    throw new Failure(`${version} cannot be the version of an image`, {
      exit: EXIT.usage,
      next: 'name one such as 1.2.0',
    });
  const suffix = dirty.length > 0 ? '-dirty' : '';
  const byCommit = `${commit.slice(0, DIGITS)}${suffix}`;
  const of = { commit, created, dirty: dirty.length > 0 };
  return version === undefined
    ? { ...of, tags: [byCommit] }
    : { ...of, version, tags: [`${version}${suffix}`, byCommit] };
}

/** The tag of a version at HEAD, the newest if there are several. */
async function exactTag(host: Host): Promise<string | undefined> {
  const tags = await answer(
    host,
    'tag',
    '--points-at',
    'HEAD',
    '--sort=-version:refname',
    '--list',
    'v[0-9]*',
  );
  return tags?.split('\n')[0] || undefined;
}

/** What is built: an image by its name, and the directory with its Dockerfile. */
export interface Build {
  image: ImageReference;
  context: string;
}

/** Pairs IMAGE with BUILD_CONTEXT. @throws Failure when they are not as many */
export function pairs(images: readonly ImageReference[], contexts: readonly string[]): Build[] {
  if (images.length !== contexts.length)
    throw new Failure(`IMAGE names ${images.length}, BUILD_CONTEXT ${contexts.length}`, {
      exit: EXIT.usage,
      next: 'give each of IMAGE its directory, in the same order',
    });
  return images.map((image, i) => ({ image, context: contexts[i] ?? '.' }));
}

/** The engine that builds. */
export interface Builder {
  /** Whether there is buildx; without it Docker's own builder builds. */
  buildx: boolean;
  /** Of the engine: `linux/amd64`. */
  platform: string;
}

export async function builderOf(host: Host): Promise<Builder> {
  const format = '{{.Server.Os}}/{{.Server.Arch}}';
  const platform = (await host.run(cmd`docker version --format ${format}`)).trim();
  const buildx = await host.run(cmd`docker buildx version`).then(
    () => true,
    () => false,
  );
  return { buildx, platform };
}

/** @throws Failure when the engine cannot build for the platform that the target runs */
export function refusePlatform({ buildx, platform }: Builder, wanted: string | undefined): void {
  if (wanted === undefined || wanted === platform || buildx) return;
  throw new Failure(`IMAGE_PLATFORM is ${wanted}, and Docker here builds for ${platform} alone`, {
    exit: EXIT.usage,
    next: 'install buildx (docker-buildx) and QEMU, or build on a machine of that platform',
  });
}

/** @throws Failure when there is nothing to build in it */
export function refuseEmptyContext({ context }: Build): void {
  if (existsSync(join(context, 'Dockerfile'))) return;
  throw new Failure(`${join(context, 'Dockerfile')} is not there`, {
    exit: EXIT.usage,
    next: 'run it in the checkout, or correct BUILD_CONTEXT',
  });
}

/** The names under which an image is built and pushed. */
const names = ({ image }: Build, { tags }: Identity): string[] =>
  tags.map((tag) => imageText({ ...image, tag }));

/** The build: version and commit as build arguments, for those who declare them, and as the labels of OCI. */
export function buildCommand(
  build: Build,
  identity: Identity,
  { buildx }: Pick<Builder, 'buildx'>,
  platform: string | undefined,
  env: Command['env'] = {},
): Command {
  const { commit, created, tags } = identity;
  const version = identity.version ?? tags[0];
  const label = (name: string, value: string) => ['--label', `org.opencontainers.image.${name}=${value}`];
  return {
    ...cmd`docker ${buildx ? ['buildx', 'build', '--load', '--provenance=false', '--progress=plain'] : ['build']} ${platform === undefined ? [] : ['--platform', platform]} ${['--build-arg', `VERSION=${version}`, '--build-arg', `COMMIT=${commit}`]} ${[...label('version', version), ...label('revision', commit), ...label('created', created)]} ${names(build, identity).flatMap((name) => ['--tag', name])} ${build.context}`,
    env,
  };
}

/** @throws Failure when the base image made it one of another platform than the target's */
export async function refuseOtherPlatform(host: Host, name: string, wanted: string): Promise<void> {
  const format = '{{.Os}}/{{.Architecture}}';
  const platform = (await host.run(cmd`docker image inspect --format ${format} ${name}`)).trim();
  // Images do not tell the variant of arm in their architecture.
  if (platform === wanted.replace(/\/v\d$/, '')) return;
  throw new Failure(`${name} was built for ${platform}, the target runs ${wanted}`, {
    next: 'look at the FROM lines of the Dockerfile: one names a platform',
  });
}

/** An image that is in its registry. */
export interface Pushed {
  /** By tag and digest, as a deployment wants it. */
  image: string;
  tags: readonly string[];
  digest: string;
}

interface Order {
  identity: Identity;
  builder: Builder;
  platform: string | undefined;
  logins: Logins;
  region: string | undefined;
}

type Work = Pick<Context, 'change' | 'host' | 'report' | 'signal'>;

/**
 * Makes the images, and has them in their registries. All are made before the first is pushed: of a version that does
 * not build, nothing is in a registry.
 */
export async function publishAll(builds: readonly Build[], order: Order, work: Work): Promise<Pushed[]> {
  for (const one of builds) await logIn(one, order, work);
  const before = await Promise.all(builds.map((one) => pushedBefore(one, order, work)));
  for (const [i, one] of builds.entries())
    if (!before[i]?.all) await obtain(one, before[i] ?? {}, order, work);
  const pushed: Pushed[] = [];
  for (const [i, one] of builds.entries()) {
    const all = before[i]?.all;
    if (all) work.report.info(`= ${all.image} is pushed already`);
    const done = all ?? (await pushAll(one, order, work));
    if (done) pushed.push(done);
  }
  return pushed;
}

/** Logs in to the registry of an image, if it is one of ECR's. @returns whether it is */
async function logIn(
  build: Build,
  { logins, region }: Pick<Order, 'logins' | 'region'>,
  { change, signal }: Pick<Work, 'change' | 'signal'>,
): Promise<boolean> {
  const token = await ecrToken(build.image, region, signal);
  if (!token) return false;
  const command = loginCommand(token.registry, token.user, logins.env);
  await change(`log in to ${token.registry}`, [command], () => logins.login(token));
  return true;
}

/** What another run of the same commit has pushed: all of it, or, where it was interrupted, the tag of the commit. */
interface Before {
  all?: Pushed;
  commit?: string;
}

/** @throws Failure when the version is in the registry, and is another build */
async function pushedBefore(
  build: Build,
  { identity, logins }: Pick<Order, 'identity' | 'logins'>,
  { host }: Pick<Work, 'host'>,
): Promise<Before> {
  const all = names(build, identity);
  const commit = all.at(-1) ?? '';
  if (identity.dirty) return {};
  const [first, last] = await Promise.all(
    [all[0] ?? '', commit].map((name) => pushedDigest(host, name, logins.env)),
  );
  if (first !== undefined && first === last) return { all: pushed(build, identity, first) };
  if (first === undefined) return last === undefined ? {} : { commit };
  throw new Failure(`${all[0]} is pushed already, and of another commit than ${identity.commit}`, {
    next: 'release a higher version: what is deployed under a version must not change',
  });
}

/** Builds an image, or fetches what was built of this commit before: two builds of it would be two images. */
async function obtain(one: Build, { commit }: Before, order: Order, work: Work): Promise<void> {
  const { identity, builder, platform, logins } = order;
  const { change, host, report } = work;
  const name = imageText(one.image);
  if (commit === undefined) {
    const command = buildCommand(one, identity, builder, platform, logins.env);
    await change(`build ${name} in ${one.context}`, [command], () => streamed(host, command, report));
    return;
  }
  const version = names(one, identity)[0] ?? '';
  const commands: Command[] = [
    { ...cmd`docker pull --quiet ${commit}`, env: logins.env },
    cmd`docker tag ${commit} ${version}`,
  ];
  await change(`fetch ${commit}, built before`, commands, async () => {
    for (const command of commands) await host.run(command);
  });
}

/** Pushes every tag of an image. Nothing is pushed before its platform is seen to be the target's. */
async function pushAll(one: Build, order: Order, work: Work): Promise<Pushed | undefined> {
  const { identity, platform, logins } = order;
  // The commit first: a version that is there is there in full.
  const all = names(one, identity).reverse();
  const commands = all.map((name) => pushCommand(name, logins.env));
  return work.change(`push ${imageText(one.image)}`, commands, async (step) => {
    if (platform) await refuseOtherPlatform(work.host, all[0] ?? '', platform);
    const again = () => logIn(one, order, { ...work, change: (_title, _what, act) => act(step) });
    const digests = [];
    for (const command of commands) digests.push(await push(work.host, command, again));
    step.note(`${identity.tags.join(', ')}, ${digests[0]}`);
    return pushed(one, identity, digests[0] ?? '');
  });
}

const pushed = ({ image }: Build, { tags }: Identity, digest: string): Pushed => ({
  image: imageText({ ...image, tag: tags[0], digest }),
  tags,
  digest,
});
