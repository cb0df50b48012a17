import { type Command, CommandFailure } from '../../command.ts';
import { Failure } from '../../failure.ts';
import type { Host } from '../../host.ts';
import { type ImageReference, imageText, parseImage } from '../image-reference.ts';
import type { Pin } from '../strategy.ts';
import { asReader, type Caller } from './login.ts';
import { manifestsOf, registryFailure } from './registry.ts';

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
