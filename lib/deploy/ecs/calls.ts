import { setTimeout as sleep } from 'node:timers/promises';
import type {
  DescribeTaskDefinitionCommandOutput,
  ECSClient,
  Service,
  TaskDefinition,
} from '@aws-sdk/client-ecs';
import { ecsClient } from '../../aws.ts';
import { awsFailure } from '../../aws-failure.ts';
import { EXIT, Failure } from '../../failure.ts';

/** The service that TARGET names, and how it is spoken to. */
export interface EcsApp {
  readonly client: ECSClient;
  readonly region: string | undefined;
  readonly cluster: string;
  readonly service: string;
  readonly signal: AbortSignal;
}

export async function ecsApp(
  { cluster, service }: { cluster: string; service: string },
  region: string | undefined,
  signal: AbortSignal,
): Promise<EcsApp> {
  return { client: await ecsClient(region), region, cluster, service, signal };
}

const isThrottled = (error: unknown): boolean => /Throttl|TooManyRequests/.test((error as Error).name);
const THROTTLED_PAUSE_MS = 1_000;
/** A limit that is not lifted by then is not going to be: it is another's to look at. */
const THROTTLED_MS = 900_000;

/**
 * A call that only looks. Being throttled for a while is no failure; the signal ends it.
 * @param call as policies name it: `ecs:DescribeServices`
 * @throws Failure that names the call and what it was about
 */
export async function ask<T>(
  { signal }: Pick<EcsApp, 'signal'>,
  call: string,
  on: string,
  act: (options: { abortSignal: AbortSignal }) => Promise<T>,
): Promise<T> {
  for (const begun = Date.now(); ; ) {
    try {
      return await act({ abortSignal: signal });
    } catch (error) {
      signal.throwIfAborted();
      if (!isThrottled(error) || Date.now() - begun > THROTTLED_MS) throw awsFailure(error, call, on);
      await sleep(THROTTLED_PAUSE_MS, undefined, { signal }).catch(() => signal.throwIfAborted());
    }
  }
}

/** A call that changes something: the SDK tries it again where that is safe. @throws Failure */
export async function tell<T>(call: string, on: string, act: () => Promise<T>): Promise<T> {
  try {
    return await act();
  } catch (error) {
    throw awsFailure(error, call, on);
  }
}

const wrongTarget = (message: string, next: string) => new Failure(message, { exit: EXIT.usage, next });

/**
 * The service as ECS tells of it now.
 * @throws Failure that tells a service that never was from one that is deleted, and from one that is being deleted
 */
export async function describeService(app: EcsApp): Promise<Service> {
  const { DescribeServicesCommand } = await import('@aws-sdk/client-ecs');
  const { cluster, service } = app;
  const input = { cluster, services: [service] };
  let found: Service | undefined;
  try {
    const answer = await ask(app, 'ecs:DescribeServices', `${cluster}/${service}`, (options) =>
      app.client.send(new DescribeServicesCommand(input), options),
    );
    found = answer.services?.[0];
  } catch (error) {
    if (((error as Failure).cause as Error | undefined)?.name !== 'ClusterNotFoundException') throw error;
    throw wrongTarget(`there is no cluster ${cluster}`, 'correct TARGET, AWS_REGION or AWS_PROFILE');
  }
  if (!found)
    throw wrongTarget(
      `there is no service ${service} in the cluster ${cluster}`,
      `correct TARGET; services there: aws ecs list-services --cluster ${cluster}`,
    );
  if (found.status === 'ACTIVE') return found;
  throw new Failure(
    found.status === 'INACTIVE'
      ? `the service ${service} of ${cluster} was deleted (INACTIVE)`
      : `the service ${service} of ${cluster} is being deleted (${found.status})`,
    { next: 'create it anew, then deploy' },
  );
}

/** A task definition with its tags. */
export interface Revision {
  readonly definition: TaskDefinition;
  readonly tags: Readonly<Record<string, string>>;
}

export async function describeRevision(app: EcsApp, name: string): Promise<Revision> {
  const { DescribeTaskDefinitionCommand } = await import('@aws-sdk/client-ecs');
  const { taskDefinition, tags = [] } = await ask<DescribeTaskDefinitionCommandOutput>(
    app,
    'ecs:DescribeTaskDefinition',
    shortName(name),
    (options) =>
      app.client.send(
        new DescribeTaskDefinitionCommand({ taskDefinition: name, include: ['TAGS'] }),
        options,
      ),
  );
  const pairs = tags.map(({ key = '', value = '' }) => [key, value] as const);
  return { definition: taskDefinition as TaskDefinition, tags: Object.fromEntries(pairs) };
}

/** `family:7` of an ARN. */
export const shortName = (arn: string | undefined): string => arn?.split('/').at(-1) ?? '';
