import type { Secret as SecretOfTask, Service, TaskDefinition } from '@aws-sdk/client-ecs';
import { secretsManagerClient, ssmClient } from '../../aws.ts';
import { isRefused } from '../../aws-failure.ts';
import { checkAll, EXIT, Failure } from '../../failure.ts';
import { duration } from '../../format.ts';
import { membersOf, Secret } from '../../secret.ts';
import { describeRevision, type EcsApp, shortName } from './calls.ts';

/** @throws Problems with all that keeps the service from being deployed to without an interruption */
export async function refuseUnfit(service: Service): Promise<void> {
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
export async function refuseSecond(
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
export async function refuseMissingSecrets(app: EcsApp, definition: TaskDefinition): Promise<void> {
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
