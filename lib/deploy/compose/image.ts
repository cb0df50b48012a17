import { type Command, CommandFailure } from '../../command.ts';
import { Failure } from '../../failure.ts';
import type { Host } from '../../host.ts';
import { type ImageReference, imageText, parseImage } from '../image-reference.ts';
import type { Pin } from '../strategy.ts';
import { asReader, type Caller } from './login.ts';

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

interface Manifest {
  Descriptor: { digest: string; platform?: { os: string; architecture: string } };
  SchemaV2Manifest?: { layers?: Array<{ size: number }> };
  OCIManifest?: { layers?: Array<{ size: number }> };
}

export async function engineOf(host: Host): Promise<Engine> {
  const format = '{{.OSType}} {{.Architecture}} {{.DockerRootDir}} {{json .RegistryConfig.IndexConfigs}}';
  const text = await host.run({ argv: ['docker', 'info', '--format', format] });
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
    const text = await host.run({ argv: ['docker', 'image', 'inspect', '--format', format, reference] });
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

/** The engine trusts its own machine without being told; the command line has to be. */
const isInsecure = (registry: string, { insecure }: Engine) =>
  insecure.includes(registry) || /^(127\.|localhost(:|$))/.test(registry);

async function manifestsOf(host: Host, reference: string, insecure: boolean, env: Env): Promise<Manifest[]> {
  const flags = insecure ? ['--insecure'] : [];
  try {
    const text = await host.run({
      argv: ['docker', 'manifest', 'inspect', '--verbose', ...flags, reference],
      env,
    });
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

function refusePlatform(reference: string, platforms: readonly string[], { platform }: Engine): void {
  if (platforms.includes(platform)) return;
  throw new Failure(`${reference} is for ${platforms.join(', ')}, and the host is ${platform}`, {
    next: `build it with --platform ${platform}`,
  });
}

export const pullCommand = (reference: string, env: Env = {}): Command => ({
  argv: ['docker', 'pull', '--quiet', reference],
  env,
});

/** Fetches what was found, unless it is on the host. @throws Failure when the registry refuses it now */
export async function obtainImage(host: Host, found: Found, caller: Caller): Promise<Pin> {
  const { reference, id, moved } = found;
  if (id !== undefined) {
    if (moved) await host.run({ argv: ['docker', 'tag', id, reference] });
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
