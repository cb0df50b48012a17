import { type Command, CommandFailure, cmd } from '../command.ts';
import { Failure } from '../failure.ts';
import type { Host } from '../shell.ts';
import type { ComposeApp } from './compose-app.ts';
import type { DeploymentRecord, Pin, Release } from './deployment.ts';
import { ecrToken, loginCommand } from './registry.ts';
import { type ImageReference, imageText, parseImage } from './settings.ts';

type Env = Readonly<Record<string, string>>;

/**
 * Lets docker commands of the host read an image of ECR: with a login that this machine gets by its own credentials,
 * good for twelve hours, in a folder that is gone when `act` ends. Other registries, and hosts with a credential
 * helper, are left to the host's own logins.
 */
async function asReader<T>(
  { host, settings, signal }: ComposeApp,
  image: ImageReference,
  act: (env: Env) => Promise<T>,
): Promise<T> {
  if (image.registry === undefined) return act({});
  let refused: unknown;
  const token = await ecrToken(image, settings.AWS_REGION, signal).catch((error: unknown) => {
    refused = error;
    return undefined;
  });
  if (!token) return act({}).catch((error: unknown) => Promise.reject(refused ?? error));
  const folder = (await host.run(cmd`mktemp -d /tmp/opsbook-docker-XXXXXX`)).trim();
  const env = { DOCKER_CONFIG: folder };
  try {
    await host.run(loginCommand(token.registry, token.user, env), token.password);
    return await act(env);
  } finally {
    await host.uninterrupted.run(cmd`rm -rf ${folder}`);
  }
}

/** An image for one platform, as `docker manifest inspect --verbose` describes it. */
interface Manifest {
  Descriptor: { digest: string; platform?: { os: string; architecture: string } };
  SchemaV2Manifest?: { layers?: Array<{ size: number }> };
  OCIManifest?: { layers?: Array<{ size: number }> };
}

/** What a registry has under a name. @throws Failure when it has nothing, or may not be read */
async function manifestsOf(host: Host, reference: string, insecure: boolean, env: Env): Promise<Manifest[]> {
  const flags = insecure ? ['--insecure'] : [];
  try {
    const text = await host.run({ ...cmd`docker manifest inspect --verbose ${flags} ${reference}`, env });
    const manifests = JSON.parse(text) as Manifest | Manifest[];
    return Array.isArray(manifests) ? manifests : [manifests];
  } catch (error) {
    throw error instanceof CommandFailure ? registryFailure(error, reference) : error;
  }
}

/** What registries and the CLI say, and what to do about it; the first that fits. */
const REFUSALS: ReadonlyArray<[RegExp, string, string]> = [
  [
    /no space left/i,
    'does not fit on the disk of the host',
    'make room, or take a larger disk; then run it again',
  ],
  // The CLI says the same of a registry that wants a login.
  [
    /no such manifest|manifest unknown|not found/i,
    'is not in its registry, or may not be read there',
    'push it, or log in on the host: docker login',
  ],
  [
    /unauthorized|denied|no basic auth|authentication required|forbidden/i,
    'may not be read: the host is not logged in to its registry',
    'log in on the host: docker login',
  ],
];

function registryFailure(error: CommandFailure, reference: string): Failure {
  const [, what = `cannot be looked up: ${error.words}`, next = 'check that the host reaches the registry'] =
    REFUSALS.find(([pattern]) => pattern.test(error.stderr)) ?? [];
  return new Failure(`${reference} ${what}`, { next, cause: error });
}

/** An image that was found, before it is fetched. */
export interface Found {
  /** What the compose files will say. */
  reference: string;
  /** Absent while it is in a registry only. */
  id?: string;
  /** What has to be fetched, compressed. */
  bytes: number;
  /** The name is another image's by now: it has to be given back. */
  moved?: true;
}

/** What a host's engine is, and which registries it trusts without TLS. */
export interface Engine {
  platform: string;
  insecure: readonly string[];
  root: string;
}

export async function engineOf(host: Host): Promise<Engine> {
  const format = '{{.OSType}} {{.Architecture}} {{.DockerRootDir}} {{json .RegistryConfig.IndexConfigs}}';
  const text = await host.run(cmd`docker info --format ${format}`);
  const [, os, machine = '', root = '', indexes = '{}'] = /^(\S+) (\S+) (\S+) (.*)/.exec(text) ?? [];
  const configs = JSON.parse(indexes) as Record<string, { Secure: boolean }>;
  const insecure = Object.keys(configs).filter((name) => !configs[name]?.Secure);
  return { platform: `${os}/${ARCHITECTURES[machine] ?? machine}`, insecure, root };
}

/** The kernel's names, as images call them. */
const ARCHITECTURES: Record<string, string> = { x86_64: 'amd64', aarch64: 'arm64', armv7l: 'arm' };

/** An image on the host; undefined when it is not there. */
export async function localImage(
  host: Host,
  reference: string,
): Promise<{ id: string; platform: string } | undefined> {
  const format = '{{.Id}} {{.Os}}/{{.Architecture}}';
  try {
    const text = await host.run(cmd`docker image inspect --format ${format} ${reference}`);
    const [id = '', platform = ''] = text.trim().split(' ');
    return { id, platform };
  } catch (error) {
    if (error instanceof CommandFailure && /no such image/i.test(error.stderr)) return undefined;
    throw error;
  }
}

/**
 * Finds an image where it is: on the host, if its name has no registry in it and it is there; else in its registry.
 * @throws Failure when it is in neither, may not be read, or is not for the host's platform
 */
export async function findImage(app: ComposeApp, engine: Engine, image: ImageReference): Promise<Found> {
  const reference = imageText(image);
  const local = image.registry === undefined ? await localImage(app.host, reference) : undefined;
  if (!local) return asReader(app, image, (env) => inRegistry(app.host, engine, image, env));
  refusePlatform(reference, [local.platform], engine);
  return { reference, id: local.id, bytes: 0 };
}

/** The engine trusts its own machine by itself; the command line needs a flag for it. */
const isInsecure = (registry: string, { insecure }: Engine) =>
  insecure.includes(registry) || /^(127\.|localhost(:|$))/.test(registry);

async function inRegistry(host: Host, engine: Engine, image: ImageReference, env: Env): Promise<Found> {
  const reference = imageText(image);
  const insecure = image.registry !== undefined && isInsecure(image.registry, engine);
  const manifests = await manifestsOf(host, reference, insecure, env);
  const platforms = manifests.map(
    ({ Descriptor: { platform } }) => `${platform?.os}/${platform?.architecture}`,
  );
  refusePlatform(reference, platforms, engine);
  const found = manifests[platforms.indexOf(engine.platform)]!;
  const { digest } = found.Descriptor;
  const layers = (found.SchemaV2Manifest ?? found.OCIManifest)?.layers ?? [];
  const pinned = { ...image, digest };
  const local = await localImage(host, imageText(pinned));
  return {
    reference: imageText(pinned),
    ...(local ? { id: local.id } : {}),
    bytes: local ? 0 : layers.reduce((sum, { size }) => sum + size, 0),
  };
}

function refusePlatform(reference: string, platforms: readonly string[], { platform }: Engine): void {
  if (platforms.includes(platform)) return;
  throw new Failure(`${reference} is for ${platforms.join(', ')}, and the host is ${platform}`, {
    next: `build it with --platform ${platform}`,
  });
}

export const pullCommand = (reference: string): Command => cmd`docker pull --quiet ${reference}`;

/** Fetches what was found, unless it is on the host. @throws Failure when the registry refuses it now */
export async function obtainImage(app: ComposeApp, { reference, id, moved }: Found): Promise<Pin> {
  const { host } = app;
  if (id !== undefined) {
    if (moved) await host.run(cmd`docker tag ${id} ${reference}`);
    return { reference, id };
  }
  try {
    await asReader(app, parseImage(reference), (env) => host.run({ ...pullCommand(reference), env }));
  } catch (error) {
    throw error instanceof CommandFailure ? registryFailure(error, reference) : error;
  }
  return pinOf(host, reference, 'pulled');
}

/** @throws Failure where an image is not there although it was pulled or built */
export async function pinOf(host: Host, reference: string, how: 'pulled' | 'built'): Promise<Pin> {
  const local = await localImage(host, reference);
  if (local) return { reference, id: local.id };
  throw new Failure(`${reference} was ${how}, and is not there`);
}

/** The images that deployments have fetched and that no release to keep needs; images of others stay. */
export function prunable(records: readonly DeploymentRecord[], keep: readonly Release[]): string[] {
  const imagesOf = (releases: readonly Release[]) => releases.flatMap(({ images }) => Object.values(images));
  const kept = new Set(imagesOf(keep).map(({ id }) => id));
  const unneeded = imagesOf(records).filter(({ id }) => !kept.has(id));
  return [...new Set(unneeded.map(({ reference }) => reference))];
}

/** Removes them, except those that a container still uses. @returns how many */
export async function prune(
  host: Host,
  records: readonly DeploymentRecord[],
  keep: readonly Release[],
): Promise<number> {
  let removed = 0;
  for (const reference of prunable(records, keep)) {
    try {
      await host.run(cmd`docker image rm ${reference}`);
      removed += 1;
    } catch (error) {
      if (!(error instanceof CommandFailure) || !/no such image|is being used|in use/i.test(error.stderr))
        throw error;
    }
  }
  return removed;
}
