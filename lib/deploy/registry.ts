import type { ECR } from '@aws-sdk/client-ecr';
import type { RuntimePlatform } from '@aws-sdk/client-ecs';
import { awsFailure } from '../aws.ts';
import { type Command, cmd } from '../command.ts';
import { Failure } from '../failure.ts';
import { Secret } from '../secret.ts';
import type { Pin } from './deployment.ts';
import { ecrOf, type ImageReference, imageText } from './settings.ts';

/** A user and a password of ECR, which are good for twelve hours. */
interface Token {
  user: string;
  password: Secret;
  /** The registry that it is for. */
  registry: string;
}

/**
 * ECR's token for an image's registry; undefined when it is not one of ECR's. Where AWS has another address
 * than its own, ECR's registries have other names too: then it is the one that the token names.
 */
export async function ecrToken(
  image: ImageReference,
  region: string | undefined,
  signal: AbortSignal,
): Promise<Token | undefined> {
  const of = ecrOf(image);
  const elsewhere = process.env.AWS_ENDPOINT_URL_ECR ?? process.env.AWS_ENDPOINT_URL;
  if (!of && !elsewhere) return undefined;
  const { ECR } = await import('@aws-sdk/client-ecr');
  const ecr = new ECR({ region: of?.region ?? region ?? 'us-east-1' });
  try {
    const { authorizationData: [data] = [] } = await ecr.getAuthorizationToken({}, { abortSignal: signal });
    const registry = (data?.proxyEndpoint ?? '').replace(/^https?:\/\//, '');
    if (!of && registry !== image.registry) return undefined;
    const [user = '', password = ''] = Buffer.from(data?.authorizationToken ?? '', 'base64')
      .toString('utf8')
      .split(':');
    return { user, password: new Secret(password), registry: image.registry ?? registry };
  } catch (error) {
    signal.throwIfAborted();
    // Another service at that address may know nothing of ECR.
    if (!of) return undefined;
    throw awsFailure(error, 'ecr:GetAuthorizationToken', image.registry ?? '');
  }
}

/** `docker login`, with the password on its standard input. */
export const loginCommand = (
  registry: string,
  user: string,
  env: Readonly<Record<string, string>>,
): Command => ({ ...cmd`docker login --username ${user} --password-stdin ${registry}`, env });

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
 * Finds an image in ECR, and checks that it is for the platform of a task definition.
 * @throws Failure when it is not there, may not be read, or is for another platform
 */
export async function findImage(
  { region, signal }: { region: string | undefined; signal: AbortSignal },
  image: ImageReference,
  { cpuArchitecture = 'X86_64' }: RuntimePlatform = {},
): Promise<Pin> {
  const { registry, repository, tag = 'latest', digest: wanted } = image;
  const name = imageText(image);
  const { ECR } = await import('@aws-sdk/client-ecr');
  const where = ecrOf(image)?.region ?? region;
  const ecr = new ECR(where === undefined ? {} : { region: where });
  const imageIds = [wanted === undefined ? { imageTag: tag } : { imageDigest: wanted }];
  const input = { repositoryName: repository, imageIds, acceptedMediaTypes: MANIFESTS };
  const answer = await ecr.batchGetImage(input, { abortSignal: signal }).catch((error: Error) => {
    signal.throwIfAborted();
    if (error.name !== 'RepositoryNotFoundException') throw awsFailure(error, 'ecr:BatchGetImage', name);
    throw new Failure(`there is no repository ${repository} in ECR`, { next: 'correct IMAGE' });
  });
  const [found] = answer.images ?? [];
  const digest = found?.imageId?.imageDigest;
  if (!found || !digest)
    throw new Failure(`${name} is not in ECR`, { next: 'build and push it: build-image' });
  const { manifests, config } = JSON.parse(found.imageManifest ?? '{}') as Manifest;
  const platforms = manifests
    ? manifests.map(({ platform }) => `${platform?.os}/${platform?.architecture}`)
    : await platformIn(signal, ecr, repository, config?.digest);
  const runs = `linux/${ARCHITECTURES[cpuArchitecture] ?? cpuArchitecture}`;
  if (platforms.length > 0 && !platforms.includes(runs))
    throw new Failure(`${name} is for ${platforms.join(', ')}, and its task definition runs ${runs}`, {
      next: `build it with IMAGE_PLATFORM=${runs}`,
    });
  return { reference: imageText({ registry, repository, digest }), id: digest };
}

/** A few kilobytes that do not come by then are not going to. */
const DOWNLOAD_MS = 30_000;

/** `linux/amd64`: of an image for a single platform its configuration says it. */
async function platformIn(
  signal: AbortSignal,
  ecr: ECR,
  repositoryName: string,
  layerDigest: string | undefined,
): Promise<string[]> {
  try {
    const { downloadUrl = '' } = await ecr.getDownloadUrlForLayer({ repositoryName, layerDigest });
    const limits = AbortSignal.any([signal, AbortSignal.timeout(DOWNLOAD_MS)]);
    const config = await (await fetch(downloadUrl, { signal: limits })).json();
    const { os, architecture } = config as { os: string; architecture: string };
    return [`${os}/${architecture}`];
  } catch {
    signal.throwIfAborted();
    return []; // whoever may not download layers deploys all the same: ECS will say it
  }
}
