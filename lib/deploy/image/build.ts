import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from '../../command.ts';
import { EXIT, Failure } from '../../failure.ts';
import type { Host } from '../../host.ts';
import { imageText } from '../image-reference.ts';
import type { Build, Identity } from './identity.ts';

/** The engine that builds. */
export interface Builder {
  /** Whether there is buildx; without it Docker's own builder builds. */
  buildx: boolean;
  /** Of the engine: `linux/amd64`. */
  platform: string;
}

export async function builderOf(host: Host): Promise<Builder> {
  const format = '{{.Server.Os}}/{{.Server.Arch}}';
  const platform = (await host.run({ argv: ['docker', 'version', '--format', format] })).trim();
  const buildx = await host.run({ argv: ['docker', 'buildx', 'version'] }).then(
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
export const names = ({ image }: Build, { tags }: Identity): string[] =>
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
    argv: [
      'docker',
      // Without an attestation the digest is that of the image, and not of an index with it.
      ...(buildx ? ['buildx', 'build', '--load', '--provenance=false', '--progress=plain'] : ['build']),
      ...(platform === undefined ? [] : ['--platform', platform]),
      ...['--build-arg', `VERSION=${version}`, '--build-arg', `COMMIT=${commit}`],
      ...[...label('version', version), ...label('revision', commit), ...label('created', created)],
      ...names(build, identity).flatMap((name) => ['--tag', name]),
      build.context,
    ],
    env,
  };
}

/** @throws Failure when the base image made it one of another platform than the target's */
export async function refuseOtherPlatform(host: Host, name: string, wanted: string): Promise<void> {
  const format = '{{.Os}}/{{.Architecture}}';
  const platform = (
    await host.run({ argv: ['docker', 'image', 'inspect', '--format', format, name] })
  ).trim();
  // Images do not tell the variant of arm in their architecture.
  if (platform === wanted.replace(/\/v\d$/, '')) return;
  throw new Failure(`${name} was built for ${platform}, the target runs ${wanted}`, {
    next: 'look at the FROM lines of the Dockerfile: one names a platform',
  });
}
