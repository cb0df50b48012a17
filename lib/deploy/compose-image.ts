import { Failure } from '../failure.ts';
import { type Command, CommandFailure, cmd, type Host } from '../shell.ts';
import type { DeploymentRecord, Pin, Release } from './deployment.ts';
import { ecrToken, loginCommand } from './registry.ts';
import { type ImageReference, imageText, parseImage } from './settings.ts';

/** Who asks ECR for a token: this machine, with its own credentials. */
export interface Caller {
  region: string | undefined;
  signal: AbortSignal;
}

/**
 * Lets docker commands of the host read an image of ECR: with a login that we bring, good for twelve hours, in a folder
 * that is gone when `act` ends. Registries of others, and hosts with a credential helper, are left to the host's own.
 */
async function asReader<T>(
  host: Host,
  image: ImageReference,
  { region, signal }: Caller,
  act: (env: Readonly<Record<string, string>>) => Promise<T>,
): Promise<T> {
  if (image.registry === undefined) return act({});
  let refused: unknown;
  const token = await ecrToken(image, region, signal).catch((error: unknown) => {
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

/** An image for one platform, as `docker manifest inspect --verbose` tells of it. */
interface Manifest {
  Descriptor: { digest: string; platform?: { os: string; architecture: string } };
  SchemaV2Manifest?: { layers?: Array<{ size: number }> };
  OCIManifest?: { layers?: Array<{ size: number }> };
}

/** What a registry has under a name. @throws Failure when it has nothing, or may not be read */
async function manifestsOf(
  host: Host,
  reference: string,
  insecure: boolean,
  env: Readonly<Record<string, string>>,
): Promise<Manifest[]> {
  const flags = insecure ? ['--insecure'] : [];
  try {
    const text = await host.run({ ...cmd`docker manifest inspect --verbose ${flags} ${reference}`, env });
    const manifests = JSON.parse(text) as Manifest | Manifest[];
    return Array.isArray(manifests) ? manifests : [manifests];
  } catch (error) {
    throw error instanceof CommandFailure ? registryFailure(error, reference) : error;
  }
}

/** What a registry's refusal is, and what to do about it. */
function registryFailure(error: CommandFailure, reference: string): Failure {
  const failure = (what: string, next: string) => new Failure(`${reference} ${what}`, { next, cause: error });
  if (/no space left/i.test(error.stderr))
    return failure(
      'does not fit on the disk of the host',
      'make room, or take a larger disk; then run it again',
    );
  // The CLI says the same of a registry that wants a login.
  if (/no such manifest|manifest unknown|not found/i.test(error.stderr))
    return failure(
      'is not in its registry, or may not be read there',
      'push it, or log in on the host: docker login',
    );
  if (/unauthorized|denied|no basic auth|authentication required|forbidden/i.test(error.stderr))
    return failure(
      'may not be read: the host is not logged in to its registry',
      'log in on the host: docker login',
    );
  return failure(`cannot be looked up: ${error.words}`, 'see whether the host reaches the registry');
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

type Env = Readonly<Record<string, string>>;

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

/** An image on the host. */
export async function localImage(
  host: Host,
  reference: string,
): Promise<{ id: string; platform: string; labels: Record<string, string> } | undefined> {
  const format = '{{.Id}} {{.Os}}/{{.Architecture}} {{json .Config.Labels}}';
  try {
    const text = await host.run(cmd`docker image inspect --format ${format} ${reference}`);
    const [, id = '', platform = '', labels = 'null'] = /^(\S+) (\S+) (.*)/.exec(text) ?? [];
    return { id, platform, labels: JSON.parse(labels) ?? {} };
  } catch (error) {
    if (error instanceof CommandFailure && /no such image/i.test(error.stderr)) return undefined;
    throw error;
  }
}

/**
 * Finds an image where it is: on the host, if its name has no registry in it and it is there; else in its registry.
 * @throws Failure when it is in neither, may not be read, or is not for the host's platform
 */
export async function findImage(
  host: Host,
  engine: Engine,
  image: ImageReference,
  caller: Caller,
): Promise<Found> {
  const reference = imageText(image);
  const local = image.registry === undefined ? await localImage(host, reference) : undefined;
  if (!local) return asReader(host, image, caller, (env) => inRegistry(host, engine, image, env));
  refusePlatform(reference, [local.platform], engine);
  return { reference, id: local.id, bytes: 0 };
}

/** The engine trusts its own machine without being told; the command line has to be. */
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

export const pullCommand = (reference: string, env: Env = {}): Command => ({
  ...cmd`docker pull --quiet ${reference}`,
  env,
});

/** Fetches what was found, unless it is on the host. @throws Failure when the registry refuses it now */
export async function obtainImage(host: Host, found: Found, caller: Caller): Promise<Pin> {
  const { reference, id, moved } = found;
  if (id !== undefined) {
    if (moved) await host.run(cmd`docker tag ${id} ${reference}`);
    return { reference, id };
  }
  try {
    await asReader(host, parseImage(reference), caller, (env) => host.run(pullCommand(reference, env)));
  } catch (error) {
    throw error instanceof CommandFailure ? registryFailure(error, reference) : error;
  }
  const local = await localImage(host, reference);
  if (!local) throw new Failure(`${reference} was pulled, and is not there`);
  return { reference, id: local.id };
}

/**
 * The images that deployments have brought here and that no release to keep needs; those that somebody else brought
 * are not ours to remove.
 */
export function prunable(records: readonly DeploymentRecord[], keep: readonly Release[]): string[] {
  const kept = new Set(keep.flatMap(({ images }) => Object.values(images).map(({ id }) => id)));
  const ours = records.flatMap(({ images }) => Object.values(images));
  return [...new Set(ours.filter(({ id }) => !kept.has(id)).map(({ reference }) => reference))];
}

/** Removes them, those excepted that a container still uses. @returns how many */
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
