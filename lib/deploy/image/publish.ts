import type { Command } from '../../command.ts';
import { Failure } from '../../failure.ts';
import type { Context } from '../../script.ts';
import { imageText } from '../image-reference.ts';
import { streamed } from '../streamed.ts';
import { type Builder, buildCommand, names, refuseOtherPlatform } from './build.ts';
import type { Build, Identity } from './identity.ts';
import { push, pushCommand, pushedDigest } from './push.ts';
import { ecrToken, type Logins, loginCommand } from './registry.ts';

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
    { argv: ['docker', 'pull', '--quiet', commit], env: logins.env },
    { argv: ['docker', 'tag', commit, version] },
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
