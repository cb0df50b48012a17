import type { BatchGetImageCommandOutput } from '@aws-sdk/client-ecr';
import type { RuntimePlatform, Secret as SecretOfTask, Service, TaskDefinition } from '@aws-sdk/client-ecs';
import { awsFailure, isRefused, secretsManagerClient, ssmClient } from '../aws.ts';
import { checkAll, EXIT, Failure } from '../failure.ts';
import { duration } from '../format.ts';
import { membersOf, Secret } from '../secret.ts';
import type { DeployRequest, Pin, Plan, Release } from './deployment.ts';
import {
  describeRevision,
  describeService,
  type EcsApp,
  hasRecords,
  nextRevision,
  type Revision,
  register,
  releaseTags,
  shortName,
} from './ecs-service.ts';
import { ecrOf, type ImageReference, imageText, parseImage } from './settings.ts';

/** @throws Problems with all that keeps the service from being deployed to without an interruption */
async function refuseUnfit(service: Service): Promise<void> {
  const name = service.serviceName ?? '';
  const { minimumHealthyPercent: least = 100, maximumPercent: most = 200 } =
    service.deploymentConfiguration ?? {};
  const desired = service.desiredCount ?? 0;
  const set = `aws ecs update-service --cluster ${shortName(service.clusterArn)} --service ${name}`;
  const percent = `${set} --deployment-configuration minimumHealthyPercent=100,maximumPercent=200`;
  const controller = service.deploymentController?.type ?? 'ECS';
  await checkAll([
    () => {
      if (controller === 'ECS') return;
      throw new Failure(`${name} is deployed by ${controller}: only rolling deployments are followed`);
    },
    () => {
      if (desired > 0) return;
      throw new Failure(
        `${name} has a desired count of 0: a deployment would complete with nothing running`,
        {
          next: `${set} --desired-count 1`,
        },
      );
    },
    () => {
      if (desired === 0 || Math.ceil((desired * least) / 100) > 0) return;
      throw new Failure(
        `minimumHealthyPercent of ${name} is ${least}: all tasks may be stopped before new ones run`,
        {
          next: percent,
        },
      );
    },
    () => {
      const room = Math.floor((desired * most) / 100) - Math.ceil((desired * least) / 100);
      if (desired === 0 || room > 0) return;
      throw new Failure(
        `${name} can start no new task beside ${desired}: minimumHealthyPercent ${least}, maximumPercent ${most}`,
        { next: percent },
      );
    },
  ]);
}

/**
 * @throws Failure with exit 75 that names who deploys what since when, if a deployment runs that is not one of
 * `revision`
 */
async function refuseSecond(
  app: EcsApp,
  service: Service,
  isOurs: (revision: string) => boolean,
): Promise<void> {
  const primary = service.deployments?.[0];
  if (primary?.rolloutState !== 'IN_PROGRESS' || isOurs(primary.taskDefinition ?? '')) return;
  const { tags } = await describeRevision(app, primary.taskDefinition ?? '');
  const what = tags['opsbook:version'] ?? shortName(primary.taskDefinition);
  const by = tags['opsbook:by'] ? ` by ${tags['opsbook:by']}` : '';
  const ago = duration(Date.now() - (primary.createdAt?.getTime() ?? Date.now()));
  throw new Failure(`a deployment of ${what}${by} is in progress since ${ago} (${primary.id})`, {
    exit: EXIT.locked,
    next: 'wait for it, or end it and go back: rollback',
  });
}

/** @throws Problems for each secret of a task definition that its tasks would not find; what may not be read is left */
async function refuseMissingSecrets(app: EcsApp, definition: TaskDefinition): Promise<void> {
  const secrets = (definition.containerDefinitions ?? []).flatMap((one) => one.secrets ?? []);
  await checkAll(secrets.map((secret) => () => lookUp(app, secret, shortName(definition.taskDefinitionArn))));
}

async function lookUp(
  app: EcsApp,
  { name = '', valueFrom = '' }: SecretOfTask,
  revision: string,
): Promise<void> {
  const missing = (what: string) =>
    new Failure(`${name} of ${revision} comes from ${valueFrom}: ${what}`, {
      next: 'create it, or correct valueFrom in the task definition',
    });
  try {
    const absent = valueFrom.startsWith('arn:aws:secretsmanager:')
      ? await secretAbsent(app, valueFrom)
      : await parameterAbsent(app, valueFrom);
    if (absent) throw missing(absent);
  } catch (error) {
    app.signal.throwIfAborted();
    if (error instanceof Failure) throw error;
    if ((error as Error).name === 'ResourceNotFoundException') throw missing('there is no such secret');
    if (!isRefused(error) && !/AccessDenied/.test((error as Error).name)) throw error;
  }
}

async function secretAbsent(app: EcsApp, valueFrom: string): Promise<string | undefined> {
  const { GetSecretValueCommand } = await import('@aws-sdk/client-secrets-manager');
  const client = await secretsManagerClient(app.region);
  const parts = valueFrom.split(':');
  const [key, stage] = parts.slice(7);
  const { SecretString = '' } = await client.send(
    new GetSecretValueCommand({
      SecretId: parts.slice(0, 7).join(':'),
      ...(stage ? { VersionStage: stage } : {}),
    }),
    { abortSignal: app.signal },
  );
  // From here on it is masked wherever it is told, in the logs of the tasks that get it too.
  const found = new Secret(SecretString);
  if (!key) return undefined;
  try {
    return membersOf(found)?.has(key) ? undefined : `the secret has no key ${key}`;
  } catch {
    return `the secret is not JSON, and has no key ${key}`;
  }
}

async function parameterAbsent(app: EcsApp, valueFrom: string): Promise<string | undefined> {
  const { GetParametersCommand } = await import('@aws-sdk/client-ssm');
  const client = await ssmClient(app.region);
  const name = valueFrom.replace(/^arn:aws:ssm:[^:]*:[^:]*:parameter/, '');
  const { InvalidParameters = [] } = await client.send(new GetParametersCommand({ Names: [name] }), {
    abortSignal: app.signal,
  });
  return InvalidParameters.length > 0 ? 'there is no such parameter' : undefined;
}

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
async function findImage(
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

/** Looks at everything that an update needs. @throws Problems with all that is wrong */
export async function planOf(app: EcsApp, request: DeployRequest, who: string): Promise<Plan> {
  if ('commit' in request)
    throw new Failure('ECS runs images, and builds none', {
      exit: EXIT.usage,
      next: 'build and push one: build-image; then deploy its version',
    });
  const service = await describeService(app);
  const current = await describeRevision(app, service.taskDefinition ?? '');
  const pins: Record<string, Pin> = {};
  await checkAll([
    () => refuseUnfit(service),
    () => refuseMissingSecrets(app, current.definition),
    ...request.images.map((image) => async () => {
      const containers = containersOf(current.definition, image);
      const { reference, digest } = await findImage(app, image, current.definition.runtimePlatform);
      for (const name of containers) pins[name] = { reference, id: digest };
    }),
  ]);
  const release = { version: request.version, images: inOrder(current.definition, pins) };
  await refuseSecond(app, service, (arn) => arn === service.taskDefinition && isThis(current, release));
  const cutOff = isThis(current, release) && !isRecorded(current, service);
  return makePlan(app, current.definition, release, {
    plan: cutOff ? [] : [`RegisterTaskDefinition ${current.definition.family}: ${described(release.images)}`],
    // A run that was cut off has registered it: what was begun is followed, and seen to answer.
    obtain: async () =>
      cutOff
        ? shortName(service.taskDefinition)
        : register(app, nextRevision(current.definition, release.images, releaseTags(release, who))),
  });
}

/** Whether a revision is what is wanted. */
function isThis({ definition, tags }: Revision, { version, images }: Release): boolean {
  const image = (name: string) => definition.containerDefinitions?.find((one) => one.name === name)?.image;
  return (
    tags['opsbook:version'] === version &&
    Object.entries(images).every(([name, { reference }]) => image(name) === reference)
  );
}

/** Whether a deployment of it has ended: one in progress, or without a record, was cut off. */
const isRecorded = ({ tags }: Revision, { deployments }: Service): boolean =>
  deployments?.[0]?.rolloutState !== 'IN_PROGRESS' && hasRecords(tags);

/** Looks whether a revision that ran here can run again. @throws Problems when its images are gone, or it is */
export async function planOfRelease(app: EcsApp, release: Release & { revision: string }): Promise<Plan> {
  const [service, { definition }] = await Promise.all([
    describeService(app),
    describeRevision(app, release.revision),
  ]);
  const now = await describeRevision(app, service.taskDefinition ?? '');
  await checkAll([
    () => refuseUnfit(service),
    () => {
      if (definition.status === 'ACTIVE') return;
      throw new Failure(`${release.revision} of ${release.version} was deregistered`, {
        next: `deploy it anew: update-deployment ${release.version}`,
      });
    },
    ...Object.values(release.images).map(
      ({ reference }) =>
        () =>
          findImage(app, parseImage(reference), definition.runtimePlatform),
    ),
  ]);
  return makePlan(app, now.definition, release, { plan: [], obtain: async () => release.revision });
}

interface Obtaining {
  plan: string[];
  obtain: () => Promise<string>;
}

function makePlan(app: EcsApp, now: TaskDefinition, release: Release, { plan, obtain }: Obtaining): Plan {
  const { version, commit, images } = release;
  const named = { version, ...(commit === undefined ? {} : { commit }) };
  const runs = (name: string) => now.containerDefinitions?.find((one) => one.name === name)?.image;
  return {
    ...named,
    changes: Object.entries(images).map(([service, { reference }]) => ({
      ...{ service, now: runs(service) ?? 'nothing', next: reference },
    })),
    async obtain(step) {
      const revision = await obtain();
      step.note(revision);
      return { ...named, images, revision };
    },
    commands: {
      obtain: plan,
      migrate: [`RunTask ${now.family}, the new revision, and wait for its exit code`],
      switch: [
        `UpdateService ${app.cluster}/${app.service}: ${release.revision ?? 'the new revision'}, circuit breaker with rollback`,
        'follow that deployment by its id until it is COMPLETED',
      ],
    },
  };
}

const described = (images: Release['images']): string =>
  Object.entries(images)
    .map(([name, { reference }]) => `${name}=${reference}`)
    .join(' ');

/** The containers that run an image, whatever its tag. @throws Failure when none does */
function containersOf(definition: TaskDefinition, image: ImageReference): string[] {
  const { registry, repository } = image;
  const found = (definition.containerDefinitions ?? []).filter((container) => {
    const its = parseImage(container.image ?? '');
    return its.registry === registry && its.repository === repository;
  });
  if (found.length > 0) return found.map(({ name = '' }) => name);
  const all = (definition.containerDefinitions ?? []).map((one) => `${one.name}: ${one.image}`).join(', ');
  const name = imageText({ ...(registry ? { registry } : {}), repository });
  throw new Failure(`no container of ${definition.family}:${definition.revision} runs ${name} (${all})`, {
    next: 'correct IMAGE',
  });
}

/** In the order of the containers, which is also that in which they were checked. */
const inOrder = (definition: TaskDefinition, pins: Record<string, Pin>): Record<string, Pin> =>
  Object.fromEntries(
    (definition.containerDefinitions ?? []).flatMap(({ name = '' }) =>
      pins[name] ? [[name, pins[name]]] : [],
    ),
  );
