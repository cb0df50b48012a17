import { existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Command, CommandFailure } from '../../lib/command.ts';
import { type Context, flag } from '../../lib/definition.ts';
import { type ImageReference, imageSettings, imageText, isTag } from '../../lib/deploy/settings.ts';
import { checkAll, EXIT, Failure } from '../../lib/failure.ts';
import { script } from '../../lib/script.ts';
import { list, optionalSetting, setting } from '../../lib/settings.ts';
import type { Host } from '../../lib/shell.ts';

const buildSettings = {
  ...imageSettings,
  BUILD_CONTEXT: setting('BUILD_CONTEXT', {
    about: 'the directory that each of IMAGE is built in, in the same order; relative to the current one',
    example: 'backend,web',
    default: '.',
    type: list((raw) => raw),
  }),
  IMAGE_PLATFORM: optionalSetting('IMAGE_PLATFORM', {
    about: 'the platform that the target runs; default: that of the Docker engine that builds',
    example: 'linux/arm64',
    type: (z) =>
      z
        .string()
        .regex(/^linux\/(amd64|arm64|arm\/v7)$/, 'is not one of linux/amd64, linux/arm64, linux/arm/v7'),
  }),
};

/** Digits of a commit in a tag. */
const DIGITS = 12;

const AGAIN = 'run it again: what arrived is not sent again';
/** What registries say to a push, what that means, and what to do about it; the first that fits. */
const REFUSALS: ReadonlyArray<[said: RegExp, what: string, next: string]> = [
  [/token has expired|authorization token/i, 'the login has expired', AGAIN],
  [
    /immutable|cannot be overwritten/i,
    'the tag is another image already, and may not be moved',
    'release a higher version',
  ],
  [
    /name unknown|repository .* does not exist/i,
    'there is no such repository',
    'create it, or correct IMAGE',
  ],
  [
    /denied|unauthorized|no basic auth|forbidden|not authorized/i,
    'these credentials may not push',
    'allow ecr:InitiateLayerUpload, UploadLayerPart, CompleteLayerUpload, PutImage; elsewhere: docker login',
  ],
  [/connection refused|no such host|timeout|EOF|reset/i, 'the registry does not answer', AGAIN],
];

await script(import.meta, {
  does: 'Build the images of the app from a commit, and push them under its version',
  step: 'Build the image',
  example: 'npx tsx scripts/deploy/build-image.ts 1.2.0',
  settings: buildSettings,
  targetless: true,
  operands: { '[version]': 'the version (default: the tag at the commit, otherwise the commit)' },
  flags: { allowDirty: flag('--allow-dirty', 'build what is not committed too; the tags say so') },
  changes: true,
  reports: true,
  async run(context) {
    const { settings, flags, operands, host, cmd, change, defer, report, signal, json } = context;
    const { ecrToken, loginCommand } = await import('../../lib/deploy/registry.ts');
    const { streamed } = await import('../../lib/deploy/streamed.ts');
    const { IMAGE_PLATFORM: platform, AWS_REGION: region } = settings;

    const builds = pairs(settings.IMAGE, settings.BUILD_CONTEXT);
    const builder = await builderOf(host);
    await checkAll([
      () => refusePlatform(builder, platform),
      ...builds.map((build) => () => refuseEmptyContext(build)),
    ]);
    const identity = await identify(host, operands[0], flags.allowDirty === true);

    // Logins of this run: Docker keeps them in a folder that is this user's alone, and gone when the run ends.
    const env = { DOCKER_CONFIG: makeDockerConfig() };
    defer(() => rmSync(env.DOCKER_CONFIG, { recursive: true, force: true }));
    const docker: Command = { ...cmd`docker`, env };
    const loginTo = async ({ image }: Build) => {
      const token = await ecrToken(image, region, signal);
      if (!token) return undefined;
      const command = loginCommand(token.registry, token.user, env);
      return { ...token, command, act: () => host.run(command, token.password) };
    };
    for (const build of builds) {
      const login = await loginTo(build);
      if (login) await change(`log in to ${login.registry}`, [login.command], login.act);
    }
    const before = await Promise.all(builds.map((build) => pushedBefore(host, docker, build, identity)));

    // All are built before the first is pushed: of a version that does not build, nothing is in a registry.
    for (const [i, build] of builds.entries()) {
      const { all, commit } = before[i] ?? {};
      if (all) continue;
      if (commit === undefined) {
        const command = { ...buildCommand(cmd, build, identity, builder, platform), env };
        const title = `build ${imageText(build.image)} in ${build.context}`;
        await change(title, [command], () => streamed(host, command, report));
        continue;
      }
      // Two builds of one commit would be two images.
      const version = namesOf(build, identity)[0] ?? '';
      const commands = [cmd`${docker} pull --quiet ${commit}`, cmd`docker tag ${commit} ${version}`];
      await change(`fetch ${commit}, built before`, commands, async () => {
        for (const command of commands) await host.run(command);
      });
    }

    const pushed: Pushed[] = [];
    for (const [i, build] of builds.entries()) {
      const all = before[i]?.all;
      if (all) {
        report.info(`= ${all.image} is pushed already`);
        pushed.push(all);
        continue;
      }
      // The commit first: a version that is there is there in full.
      const names = namesOf(build, identity).reverse();
      const commands = names.map((name) => cmd`${docker} push ${name}`);
      await change(`push ${imageText(build.image)}`, commands, async (step) => {
        if (platform) await refuseOtherPlatform(host, names[0] ?? '', platform);
        const digests: string[] = [];
        for (const command of commands)
          digests.push(await push(host, command, async () => (await loginTo(build))?.act()));
        step.note(`${identity.tags.join(', ')}, ${digests[0]}`);
        pushed.push(pushedAs(build, identity, digests[0] ?? ''));
      });
    }
    if (context.dryRun) return;

    const images = pushed.map(({ image }) => image);
    const { commit, tags } = identity;
    report.output('image', images.join(','));
    report.output('version', tags[0]);
    report.data(json ? JSON.stringify({ version: tags[0], commit, images: pushed }) : images.join('\n'));
  },
});

/** What is built: an image by its name, and the directory with its Dockerfile. */
interface Build {
  image: ImageReference;
  context: string;
}

/** Pairs IMAGE with BUILD_CONTEXT. @throws Failure when they are not as many */
function pairs(images: readonly ImageReference[], contexts: readonly string[]): Build[] {
  if (images.length !== contexts.length)
    throw new Failure(`IMAGE names ${images.length}, BUILD_CONTEXT ${contexts.length}`, {
      exit: EXIT.usage,
      next: 'give each of IMAGE its directory, in the same order',
    });
  return images.map((image, i) => ({ image, context: contexts[i] ?? '.' }));
}

/** The engine that builds. */
interface Builder {
  /** Whether there is buildx; without it Docker's own builder builds. */
  buildx: boolean;
  /** Of the engine: `linux/amd64`. */
  platform: string;
}

async function builderOf({ $ }: Host): Promise<Builder> {
  const platform = (await $`docker version --format ${'{{.Server.Os}}/{{.Server.Arch}}'}`).trim();
  const buildx = await $`docker buildx version`.then(
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
function refuseEmptyContext({ context }: Build): void {
  if (existsSync(join(context, 'Dockerfile'))) return;
  throw new Failure(`${join(context, 'Dockerfile')} is not there`, {
    exit: EXIT.usage,
    next: 'run it in the checkout, or correct BUILD_CONTEXT',
  });
}

/** What an image is built from, and is called after. */
interface Identity {
  commit: string;
  /** When the commit was made, ISO 8601: the same commit says the same, whenever it is built. */
  created: string;
  version?: string;
  /** Built from files that are not committed. */
  dirty: boolean;
  /** The version, where there is one, and last the commit. Never `latest`: a tag that moves does not say what runs. */
  tags: readonly [string, ...string[]];
}

/**
 * The version that is named, or else the tag of the commit, and the commit. What is built from files that are not
 * committed says so in each tag.
 * @throws Failure when there are such files and nobody allowed that
 */
async function identify(host: Host, named: string | undefined, allowDirty: boolean): Promise<Identity> {
  const { answer, changedFiles, git } = await import('../../lib/deploy/git.ts');
  const commit = (await host.$`${git} rev-parse HEAD`).trim();
  const created = (await host.$`${git} show --no-patch --format=%cI HEAD`).trim();
  const changed = await changedFiles(host);
  if (changed.length > 0 && !allowDirty)
    throw new Failure(`not committed: ${changed.slice(0, 3).join(', ')}${changed.length > 3 ? ' …' : ''}`, {
      next: 'commit it; to build an image to try out: --allow-dirty',
    });
  const version = (named ?? (await newestTag()))?.replace(/^v(?=\d)/, '');
  if (version === 'latest' || (version !== undefined && !isTag(version)))
    throw new Failure(`${version} cannot be the version of an image`, {
      exit: EXIT.usage,
      next: 'name one such as 1.2.0',
    });
  const dirty = changed.length > 0;
  const suffix = dirty ? '-dirty' : '';
  const byCommit = `${commit.slice(0, DIGITS)}${suffix}`;
  return version === undefined
    ? { commit, created, dirty, tags: [byCommit] }
    : { commit, created, dirty, version, tags: [`${version}${suffix}`, byCommit] };

  /** The tag of a version at HEAD, the newest if there are several. */
  async function newestTag(): Promise<string | undefined> {
    const tags = host.$`${git} tag --points-at HEAD --sort=-version:refname --list ${'v[0-9]*'}`;
    return (await answer(tags))?.split('\n')[0] || undefined;
  }
}

/** A folder with the user's own Docker configuration, but for its logins: those of this run are to stay in it. */
function makeDockerConfig(): string {
  const folder = mkdtempSync(join(tmpdir(), 'opsbook-docker-'));
  const own = process.env.DOCKER_CONFIG ?? join(homedir(), '.docker');
  // What Docker has beside its logins: its plugins, and which engine it speaks to.
  for (const part of ['cli-plugins', 'contexts'])
    if (existsSync(join(own, part))) symlinkSync(join(own, part), join(folder, part), 'junction');
  const file = join(own, 'config.json');
  const { credsStore: _, ...rest } = existsSync(file)
    ? (JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>)
    : {};
  writeFileSync(join(folder, 'config.json'), JSON.stringify(rest), { mode: 0o600 });
  return folder;
}

/** The names under which an image is built and pushed. */
function namesOf({ image }: Build, { tags }: Identity): string[] {
  return tags.map((tag) => imageText({ ...image, tag }));
}

/** The build: version and commit as build arguments, for those who declare them, and as the labels of OCI. */
export function buildCommand(
  cmd: Context['cmd'],
  build: Build,
  identity: Identity,
  { buildx }: Pick<Builder, 'buildx'>,
  platform: string | undefined,
): Command {
  const { commit, created, tags } = identity;
  const version = identity.version ?? tags[0];
  const label = (name: string, value: string) => cmd`--label ${`org.opencontainers.image.${name}=${value}`}`;
  const docker = buildx
    ? cmd`docker buildx build --load --provenance=false --progress=plain`
    : cmd`docker build`;
  const on = platform === undefined ? [] : cmd`--platform ${platform}`;
  const args = cmd`--build-arg ${`VERSION=${version}`} --build-arg ${`COMMIT=${commit}`}`;
  const labels = cmd`${label('version', version)} ${label('revision', commit)} ${label('created', created)}`;
  const named = namesOf(build, identity).reduce((before, name) => cmd`${before} --tag ${name}`, labels);
  return cmd`${docker} ${on} ${args} ${named} ${build.context}`;
}

/** @throws Failure when the base image made it one of another platform than the target's */
export async function refuseOtherPlatform({ $ }: Host, name: string, wanted: string): Promise<void> {
  const platform = (await $`docker image inspect --format ${'{{.Os}}/{{.Architecture}}'} ${name}`).trim();
  // Images do not name the variant of arm in their architecture.
  if (platform === wanted.replace(/\/v\d$/, '')) return;
  throw new Failure(`${name} was built for ${platform}, the target runs ${wanted}`, {
    next: 'check the FROM lines of the Dockerfile: one names a platform',
  });
}

/** An image that is in its registry. */
interface Pushed {
  /** By tag and digest, as a deployment wants it. */
  image: string;
  tags: readonly string[];
  digest: string;
}

function pushedAs({ image }: Build, { tags }: Identity, digest: string): Pushed {
  return { image: imageText({ ...image, tag: tags[0], digest }), tags, digest };
}

/**
 * What another run of the same commit has pushed: all of it, or, where it was interrupted, the tag of the commit.
 * @throws Failure when the version is in the registry, and is another build
 */
async function pushedBefore(
  host: Host,
  docker: Command,
  build: Build,
  identity: Identity,
): Promise<{ all?: Pushed; commit?: string }> {
  if (identity.dirty) return {};
  const names = namesOf(build, identity);
  const [version = '', commit = version] = names;
  const [first, last] = await Promise.all([version, commit].map((name) => pushedDigest(host, docker, name)));
  if (first !== undefined && first === last) return { all: pushedAs(build, identity, first) };
  if (first === undefined) return last === undefined ? {} : { commit };
  throw new Failure(`${version} is pushed already, and of another commit than ${identity.commit}`, {
    next: 'release a higher version: what is deployed under a version must not change',
  });
}

/** The digest that a registry has under a name; undefined when it has none, or does not say. */
async function pushedDigest({ $ }: Host, docker: Command, name: string): Promise<string | undefined> {
  const { CommandFailure, cmd } = await import('../../lib/command.ts');
  const insecure = /^(localhost|127\.)/.test(name) ? cmd`--insecure` : [];
  try {
    const inspected = $`${docker} manifest inspect --verbose ${insecure} ${name}`;
    return (await inspected.json<{ Descriptor?: { digest: string } }>()).Descriptor?.digest;
  } catch (error) {
    if (error instanceof CommandFailure && error.code !== null) return undefined;
    throw error;
  }
}

/**
 * Pushes an image; a login that expires on the way is made once more.
 * @returns the digest that the registry gave it
 * @throws Failure that says what the registry refused
 */
export async function push(
  host: Host,
  command: Command,
  loginAgain: () => Promise<unknown>,
): Promise<string> {
  const { CommandFailure, wordsOf } = await import('../../lib/command.ts');
  const name = wordsOf(command).at(-1) ?? '';
  const attempt = async () => {
    const digest = /digest: (sha256:[0-9a-f]{64})/.exec(await host.run(command))?.[1];
    if (digest) return digest;
    throw new Failure(`docker push ${name} reported no digest`, {
      next: 'run it by hand and read its output',
    });
  };
  const isRefusal = (error: unknown): error is CommandFailure =>
    error instanceof CommandFailure && error.code !== null;
  try {
    return await attempt();
  } catch (error) {
    if (!isRefusal(error)) throw error;
    if (!/expired|no basic auth|unauthorized|authentication required/i.test(error.stderr))
      throw refused(name, error);
  }
  await loginAgain();
  return attempt().catch((error: unknown) => {
    throw isRefusal(error) ? refused(name, error) : error;
  });
}

function refused(name: string, error: CommandFailure): Failure {
  const [, what, next] = REFUSALS.find(([said]) => said.test(error.stderr)) ?? [];
  return new Failure(`push of ${name} failed: ${what ?? error.words}`, {
    next: next ?? `try it by hand: docker push ${name}`,
    cause: error,
  });
}
