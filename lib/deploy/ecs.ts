import type { Deployment, Service, TaskDefinition } from '@aws-sdk/client-ecs';
import { ecsClient, isRefused, secretsManagerClient, ssmClient } from '../aws.ts';
import { checkAll, EXIT, Failure, throwAll } from '../failure.ts';
import { duration } from '../format.ts';
import type { Report } from '../output.ts';
import { membersOf, Secret } from '../secret.ts';
import {
  type DeployedApp,
  type DeployRequest,
  type Pin,
  type Plan,
  type Release,
  sameImages,
  who,
} from './deployment.ts';
import {
  capacityOf,
  describeRevision,
  describeService,
  type EcsApp,
  hasRecords,
  nextRevision,
  pinsOf,
  type Revision,
  readRecords,
  register,
  releaseTags,
  shortName,
  writeRecord,
} from './ecs-service.ts';
import { switchTo } from './ecs-switch.ts';
import { describeDeaths, runOnce } from './ecs-tasks.ts';
import { findImage } from './registry.ts';
import { type DeploySettings, type ImageReference, imageText, parseImage } from './settings.ts';

/** A service of ECS, whose records are tags of its task definition's revisions. */
export async function appOnEcs(
  target: { cluster: string; service: string },
  settings: DeploySettings & { AWS_REGION?: string | undefined },
  signal: AbortSignal,
  report: Pick<Report, 'info' | 'warn'>,
  waitMs?: number,
): Promise<DeployedApp> {
  const { AWS_REGION: region, APP_SERVICE, HEALTH_TIMEOUT, HEALTHY_FOR, MIGRATE_TIMEOUT } = settings;
  const app: EcsApp = { ecs: await ecsClient(region), region, ...target, signal };
  const repositories = settings.IMAGE.map(imageText);
  const times = { healthTimeoutMs: HEALTH_TIMEOUT * 1000, healthyForMs: HEALTHY_FOR * 1000, waitMs };
  const records = () => readRecords(app, repositories);
  return {
    goesOn: true,
    records,
    async unfinished() {
      const [primary] = (await describeService(app)).deployments ?? [];
      if (primary?.rolloutState !== 'IN_PROGRESS') return undefined;
      const { version, by = 'someone' } = await deployedBy(app, primary);
      return `a deployment of ${version} is in progress: ${primary.id}, begun ${primary.createdAt?.toISOString()} by ${by}`;
    },
    async running() {
      const [primary, ...others] = (await describeService(app)).deployments ?? [];
      if (!primary || others.length > 0 || primary.rolloutState === 'FAILED') return undefined;
      const { definition, tags } = await describeRevision(app, primary.taskDefinition ?? '');
      const revision = shortName(definition.taskDefinitionArn);
      const commit = tags['opsbook:commit'];
      return {
        version: tags['opsbook:version'] ?? revision,
        ...(commit === undefined ? {} : { commit }),
        images: pinsOf(definition, repositories),
        revision,
      };
    },
    preflight: (request) => preflight(app, request),
    async preflightRelease(release) {
      const revision =
        release.revision ?? (await records()).findLast((one) => sameImages(one, release))?.revision;
      if (revision === undefined)
        throw new Failure(`no revision of the task definition is ${release.version} any more`, {
          next: `deploy it again: update-deployment ${release.version}`,
        });
      return preflightRelease(app, { ...release, revision });
    },
    async migrate({ images, revision = '' }, command, say) {
      const [first = ''] = Object.keys(images);
      const container = APP_SERVICE in images ? APP_SERVICE : first;
      await runOnce(app, { revision, container, command }, MIGRATE_TIMEOUT * 1000, say);
    },
    async switchTo({ version, revision = '' }, step) {
      let begun: string | undefined;
      try {
        await switchTo(app, revision, times, step.note, (id) => {
          step.note(id);
          begun = id;
        });
      } catch (error) {
        if (signal.aborted && begun !== undefined) {
          report.warn(`${begun} goes on in ECS without us. To follow it again: update-deployment ${version}`);
          report.warn(
            `To end it and go back: rollback, or: aws ecs stop-service-deployment --stop-type ROLLBACK --service-deployment-arn $(aws ecs list-service-deployments --cluster ${app.cluster} --service ${app.service} --status IN_PROGRESS --query 'serviceDeployments[0].serviceDeploymentArn' --output text)`,
          );
        }
        throw error;
      }
    },
    postmortem: (release) => describeDeaths(app, release.revision ?? ''),
    record: (record) => writeRecord(app, record),
    // What images are kept is for the repository's lifecycle policy to say.
    prune: async () => 0,
  };
}

/** What a deployment of the service is of, and who began it, where its revision says. */
async function deployedBy(app: EcsApp, { taskDefinition = '' }: Deployment) {
  const { tags } = await describeRevision(app, taskDefinition);
  return { version: tags['opsbook:version'] ?? shortName(taskDefinition), by: tags['opsbook:by'] };
}

/** Checks everything that an update needs. @throws Problems with all that is wrong */
async function preflight(app: EcsApp, request: DeployRequest): Promise<Plan> {
  if ('commit' in request)
    throw new Failure('ECS runs images, and builds none', {
      exit: EXIT.usage,
      next: 'build and push one: build-image; then deploy its version',
    });
  const service = await describeService(app);
  const current = await describeRevision(app, service.taskDefinition ?? '');
  const { definition } = current;
  const pins: Record<string, Pin> = {};
  await checkAll([
    () => refuseUnfit(service),
    () => refuseMissingSecrets(app, definition),
    ...request.images.map((image) => async () => {
      const containers = containersOf(definition, image);
      const pin = await findImage(app, image, definition.runtimePlatform);
      for (const name of containers) pins[name] = pin;
    }),
  ]);
  // In the order of the containers, which is also that in which they were checked.
  const inOrder = (definition.containerDefinitions ?? []).flatMap(({ name = '' }) =>
    pins[name] ? [[name, pins[name]] as const] : [],
  );
  const release = { version: request.version, images: Object.fromEntries(inOrder) };
  const isCurrent = isThis(current, release);
  await refuseSecond(app, service, isCurrent);
  // One in progress, or without a record, was cut off: what was begun is followed, and seen to answer.
  const inProgress = service.deployments?.[0]?.rolloutState === 'IN_PROGRESS';
  if (isCurrent && (inProgress || !hasRecords(current.tags)))
    return planOf(app, definition, release, [], async () => shortName(service.taskDefinition));
  const described = inOrder.map(([name, { reference }]) => `${name}=${reference}`).join(' ');
  return planOf(app, definition, release, [`RegisterTaskDefinition ${definition.family}: ${described}`], () =>
    register(app, nextRevision(definition, release.images, releaseTags(release, who()))),
  );
}

/** Whether a revision is that of a release. */
function isThis({ definition, tags }: Revision, { version, images }: Release): boolean {
  const image = (name: string) => definition.containerDefinitions?.find((one) => one.name === name)?.image;
  return (
    tags['opsbook:version'] === version &&
    Object.entries(images).every(([name, { reference }]) => image(name) === reference)
  );
}

/** Checks whether a revision that ran here can run again. @throws Problems when its images are gone, or it is */
async function preflightRelease(app: EcsApp, release: Release & { revision: string }): Promise<Plan> {
  const [service, { definition }] = await Promise.all([
    describeService(app),
    describeRevision(app, release.revision),
  ]);
  const current = await describeRevision(app, service.taskDefinition ?? '');
  await checkAll([
    () => refuseUnfit(service),
    () => {
      if (definition.status === 'ACTIVE') return;
      throw new Failure(`${release.revision} of ${release.version} was deregistered`, {
        next: `deploy it again: update-deployment ${release.version}`,
      });
    },
    ...Object.values(release.images).map(
      ({ reference }) =>
        () =>
          findImage(app, parseImage(reference), definition.runtimePlatform),
    ),
  ]);
  return planOf(app, current.definition, release, [], async () => release.revision);
}

/**
 * @param obtaining what `obtain` is going to do, as a dry run prints it
 * @param obtain returns the name of the release's revision
 */
function planOf(
  { cluster, service }: EcsApp,
  now: TaskDefinition,
  { version, commit, images, revision: known = 'the new revision' }: Release,
  obtaining: string[],
  obtain: () => Promise<string>,
): Plan {
  const named = { version, ...(commit === undefined ? {} : { commit }) };
  const runs = (name: string) => now.containerDefinitions?.find((one) => one.name === name)?.image;
  return {
    ...named,
    changes: Object.entries(images).map(([name, { reference }]) => ({
      ...{ service: name, now: runs(name) ?? 'nothing', next: reference },
    })),
    async obtain(step) {
      const revision = await obtain();
      step.note(revision);
      return { ...named, images, revision };
    },
    commands: {
      obtain: obtaining,
      migrate: [`RunTask ${now.family}, the new revision, and wait for its exit code`],
      switch: [
        `UpdateService ${cluster}/${service}: ${known}, circuit breaker with rollback`,
        'follow that deployment by its id until it is COMPLETED',
      ],
    },
  };
}

/** @throws Problems with all that keeps the service from being deployed to without an interruption */
function refuseUnfit(service: Service): void {
  const { serviceName: name = '', deploymentController } = service;
  const { desired, least, most, room } = capacityOf(service);
  const controller = deploymentController?.type ?? 'ECS';
  const set = `aws ecs update-service --cluster ${shortName(service.clusterArn)} --service ${name}`;
  const percent = `${set} --deployment-configuration minimumHealthyPercent=100,maximumPercent=200`;
  const problems: Array<[is: boolean, what: string, next?: string]> = [
    [controller !== 'ECS', `${name} is deployed by ${controller}: only rolling deployments are followed`],
    [
      desired === 0,
      `${name} has a desired count of 0: a deployment would complete with nothing running`,
      `${set} --desired-count 1`,
    ],
    [
      desired > 0 && Math.ceil((desired * least) / 100) === 0,
      `minimumHealthyPercent of ${name} is ${least}: all tasks may be stopped before new ones run`,
      percent,
    ],
    [
      desired > 0 && room <= 0,
      `${name} can start no new task beside ${desired}: minimumHealthyPercent ${least}, maximumPercent ${most}`,
      percent,
    ],
  ];
  const those = problems.filter(([is]) => is);
  throwAll(those.map(([, what, next]) => new Failure(what, next === undefined ? {} : { next })));
}

/**
 * @throws Failure with exit 75 that names who has been deploying what for how long, if a deployment of something else
 * is in progress
 */
async function refuseSecond(app: EcsApp, service: Service, isOurs: boolean): Promise<void> {
  const primary = service.deployments?.[0];
  if (primary?.rolloutState !== 'IN_PROGRESS') return;
  if (isOurs && primary.taskDefinition === service.taskDefinition) return;
  const { version, by } = await deployedBy(app, primary);
  const ago = duration(Date.now() - (primary.createdAt?.getTime() ?? Date.now()));
  const what = `a deployment of ${version}${by === undefined ? '' : ` by ${by}`}`;
  throw new Failure(`${what} has been in progress for ${ago} (${primary.id})`, {
    exit: EXIT.locked,
    next: 'wait for it, or end it and go back: rollback',
  });
}

/** @throws Problems for each secret of a task definition that its tasks would not find */
async function refuseMissingSecrets(app: EcsApp, definition: TaskDefinition): Promise<void> {
  const secrets = (definition.containerDefinitions ?? []).flatMap((one) => one.secrets ?? []);
  const revision = shortName(definition.taskDefinitionArn);
  await checkAll(
    secrets.map(({ name, valueFrom = '' }) => async () => {
      const what = await whyAbsent(app, valueFrom);
      if (what !== undefined)
        throw new Failure(`${name} of ${revision} comes from ${valueFrom}: ${what}`, {
          next: 'create it, or correct valueFrom in the task definition',
        });
    }),
  );
}

/** Why a secret is not found; undefined where it is, or may not be read. */
async function whyAbsent(app: EcsApp, valueFrom: string): Promise<string | undefined> {
  const isSecret = valueFrom.startsWith('arn:aws:secretsmanager:');
  try {
    return await (isSecret ? secretAbsent(app, valueFrom) : parameterAbsent(app, valueFrom));
  } catch (error) {
    app.signal.throwIfAborted();
    const { name } = error as Error;
    if (name === 'ResourceNotFoundException') return 'there is no such secret';
    if (isRefused(error) || /AccessDenied/.test(name)) return undefined;
    throw error;
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
  // From here on it is masked wherever it would be shown, in the logs of the tasks that get it too.
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

/** The containers that run an image, whatever its tag. @throws Failure when none does */
function containersOf(definition: TaskDefinition, { registry, repository }: ImageReference): string[] {
  const { containerDefinitions: all = [], family, revision } = definition;
  const found = all.filter((container) => {
    const its = parseImage(container.image ?? '');
    return its.registry === registry && its.repository === repository;
  });
  if (found.length > 0) return found.map(({ name = '' }) => name);
  const running = all.map(({ name, image }) => `${name}: ${image}`).join(', ');
  const image = imageText({ registry, repository });
  throw new Failure(`no container of ${family}:${revision} runs ${image} (${running})`, {
    next: 'correct IMAGE',
  });
}
