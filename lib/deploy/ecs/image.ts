import type { BatchGetImageCommandOutput } from '@aws-sdk/client-ecr';
import type { RuntimePlatform } from '@aws-sdk/client-ecs';
import { awsFailure } from '../../aws-failure.ts';
import { Failure } from '../../failure.ts';
import { ecrOf, type ImageReference, imageText } from '../image-reference.ts';
import type { EcsApp } from './calls.ts';

interface Manifest {
  config?: { digest: string };
  manifests?: Array<{ platform?: { os: string; architecture: string } }>;
}

const MANIFESTS = [
  ...['application/vnd.oci.image.index.v1+json', 'application/vnd.oci.image.manifest.v1+json'],
  'application/vnd.docker.distribution.manifest.list.v2+json',
  'application/vnd.docker.distribution.manifest.v2+json',
];

/** What images call the processors of task definitions. */
const ARCHITECTURES: Record<string, string> = { X86_64: 'amd64', ARM64: 'arm64' };

/**
 * Finds an image in ECR, and that it is one for the platform of the task definition.
 * @returns its name with the digest
 * @throws Failure when it is not there, may not be read, or is for another platform
 */
export async function findImage(
  app: EcsApp,
  image: ImageReference,
  platform: RuntimePlatform | undefined,
): Promise<{ reference: string; digest: string }> {
  const name = imageText(image);
  const ecr = await ecrClient(app, image);
  const { BatchGetImageCommand } = await import('@aws-sdk/client-ecr');
  const imageIds = [
    image.digest === undefined ? { imageTag: image.tag ?? 'latest' } : { imageDigest: image.digest },
  ];
  const input = { repositoryName: image.repository, imageIds, acceptedMediaTypes: MANIFESTS };
  let answer: BatchGetImageCommandOutput;
  try {
    answer = await ecr.send(new BatchGetImageCommand(input), { abortSignal: app.signal });
  } catch (error) {
    app.signal.throwIfAborted();
    if ((error as Error).name !== 'RepositoryNotFoundException')
      throw awsFailure(error, 'ecr:BatchGetImage', name);
    throw new Failure(`there is no repository ${image.repository} in ECR`, { next: 'correct IMAGE' });
  }
  const [found] = answer.images ?? [];
  const digest = found?.imageId?.imageDigest;
  if (!found || !digest)
    throw new Failure(`${name} is not in ECR`, { next: 'build and push it: build-image --push' });
  const manifest = JSON.parse(found.imageManifest ?? '{}') as Manifest;
  refusePlatform(name, await platformsOf(app, image, manifest), platform);
  const { registry, repository } = image;
  return { reference: imageText({ ...(registry ? { registry } : {}), repository, digest }), digest };
}

async function ecrClient(app: EcsApp, image: ImageReference) {
  const { ECRClient } = await import('@aws-sdk/client-ecr');
  const region = ecrOf(image)?.region ?? app.region;
  return new ECRClient(region === undefined ? {} : { region });
}

/** `linux/amd64` for each platform that a manifest is for; of a single one its configuration tells. */
/** A few kilobytes that do not come by then are not going to. */
const DOWNLOAD_MS = 30_000;

async function platformsOf(app: EcsApp, image: ImageReference, manifest: Manifest): Promise<string[]> {
  if (manifest.manifests)
    return manifest.manifests.map(({ platform }) => `${platform?.os}/${platform?.architecture}`);
  const ecr = await ecrClient(app, image);
  const { GetDownloadUrlForLayerCommand } = await import('@aws-sdk/client-ecr');
  const layerDigest = manifest.config?.digest ?? '';
  try {
    const input = { repositoryName: image.repository, layerDigest };
    const { downloadUrl = '' } = await ecr.send(new GetDownloadUrlForLayerCommand(input));
    const config = (await (
      await fetch(downloadUrl, { signal: AbortSignal.any([app.signal, AbortSignal.timeout(DOWNLOAD_MS)]) })
    ).json()) as {
      os: string;
      architecture: string;
    };
    return [`${config.os}/${config.architecture}`];
  } catch {
    app.signal.throwIfAborted();
    return []; // whoever may not download layers deploys all the same: ECS will say it
  }
}

function refusePlatform(
  name: string,
  platforms: readonly string[],
  { cpuArchitecture = 'X86_64' }: RuntimePlatform = {},
): void {
  const wanted = `linux/${ARCHITECTURES[cpuArchitecture] ?? cpuArchitecture}`;
  if (platforms.length === 0 || platforms.includes(wanted)) return;
  throw new Failure(`${name} is for ${platforms.join(', ')}, and its task definition runs ${wanted}`, {
    next: `build it with IMAGE_PLATFORM=${wanted}`,
  });
}
