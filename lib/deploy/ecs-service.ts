import { setTimeout as sleep } from 'node:timers/promises';
import type {
  DescribeTaskDefinitionCommandOutput,
  ECSClient,
  RegisterTaskDefinitionCommandInput,
  Service,
  Tag,
  TaskDefinition,
} from '@aws-sdk/client-ecs';
import { awsFailure, ecsClient } from '../aws.ts';
import { EXIT, Failure } from '../failure.ts';
import type { DeploymentRecord, Pin, Release } from './deployment.ts';
import { imageText, parseImage } from './settings.ts';

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

/** A record has one tag: what was done when is its name, and how it went its value. */
const RECORD = 'opsbook:deployment:';
const LIMIT = 256;

/** ECS takes letters, digits, blanks and `+ - = . _ : / @` in tags: what else is in a message becomes a blank. */
const plain = (text: string): string =>
  text
    .replace(/[^\p{L}\p{N}+\-=._:/@]+/gu, ' ')
    .trim()
    .slice(0, LIMIT);

/** What a revision is, known from the moment in which it is registered. */
export function releaseTags({ version, commit }: Omit<Release, 'images'>, who: string): Tag[] {
  const tags = {
    'opsbook:version': version,
    ...(commit === undefined ? {} : { 'opsbook:commit': commit }),
    'opsbook:by': who,
  };
  return Object.entries(tags).map(([key, value]) => ({ key, value: plain(value) }));
}

/** The record of a deployment of a revision; `failed` is last, since it may have to be cut. */
export function recordTag(record: DeploymentRecord): Tag {
  const { at, did, who, from, migrated, backup, verified, failed, returnedTo, ms } = record;
  const facts = {
    did,
    verified: verified ? 'yes' : 'no',
    by: who,
    from,
    migrated: migrated ? 'yes' : 'no',
    backup,
    back: returnedTo,
    ms: String(Math.round(ms)),
    failed,
  };
  const words = Object.entries(facts).flatMap(([name, value]) => (value ? [`${name}=${value}`] : []));
  return { key: `${RECORD}${at}`, value: plain(words.join(' ')) };
}

export const hasRecords = (tags: Readonly<Record<string, string>>): boolean =>
  Object.keys(tags).some((name) => name.startsWith(RECORD));

/** The records that a revision's tags hold, oldest first. */
export function recordsIn(
  tags: Readonly<Record<string, string>>,
  images: Release['images'],
  revision: string,
): DeploymentRecord[] {
  const version = tags['opsbook:version'];
  if (version === undefined) return [];
  const commit = tags['opsbook:commit'];
  const names = Object.keys(tags).filter((name) => name.startsWith(RECORD));
  return names.sort().map((name) => {
    const [, before = '', failed] = /^(.*?)(?: failed=(.*))?$/.exec(tags[name] ?? '') ?? [];
    const facts = Object.fromEntries(before.split(' ').map((word) => word.split(/=(.*)/)));
    return {
      ...{ version, images, revision, at: name.slice(RECORD.length) },
      ...(commit === undefined ? {} : { commit }),
      did: facts.did as DeploymentRecord['did'],
      ...{ who: facts.by ?? '', from: facts.from, backup: facts.backup, returnedTo: facts.back, failed },
      ...{ migrated: facts.migrated === 'yes', verified: facts.verified === 'yes', ms: Number(facts.ms) },
    };
  });
}

/** Revisions that are looked at for records: a rollback does not go further back. */
const KNOWN = 30;

/** What a running revision has that a new one may not be given: ECS writes it. */
const READ_ONLY = [
  ...(['taskDefinitionArn', 'revision', 'status', 'requiresAttributes', 'compatibilities'] as const),
  ...(['registeredAt', 'registeredBy', 'deregisteredAt'] as const),
];

/** The next revision: the current one with other images, and nothing else changed. */
export function nextRevision(
  current: TaskDefinition,
  images: Release['images'],
  tags: Tag[],
): RegisterTaskDefinitionCommandInput {
  const kept = Object.fromEntries(
    Object.entries(current).filter(([name]) => !(READ_ONLY as readonly string[]).includes(name)),
  ) as unknown as RegisterTaskDefinitionCommandInput;
  const containerDefinitions = current.containerDefinitions?.map((container) => {
    const pin = images[container.name ?? ''];
    return pin ? { ...container, image: pin.reference } : container;
  });
  return { ...kept, containerDefinitions, tags };
}

/** The images of a revision by container, of those that are the app's. */
export function pinsOf(definition: TaskDefinition, repositories: readonly string[]): Record<string, Pin> {
  const pins: Record<string, Pin> = {};
  for (const { name = '', image = '' } of definition.containerDefinitions ?? []) {
    const { registry, repository, tag, digest } = parseImage(image);
    if (!repositories.includes(imageText({ ...(registry ? { registry } : {}), repository }))) continue;
    pins[name] = { reference: image, id: digest ?? `${repository}:${tag ?? 'latest'}` };
  }
  return pins;
}

/** Registers it. @returns its name, `family:8` */
export async function register(app: EcsApp, input: RegisterTaskDefinitionCommandInput): Promise<string> {
  const { RegisterTaskDefinitionCommand } = await import('@aws-sdk/client-ecs');
  const { taskDefinition } = await tell('ecs:RegisterTaskDefinition', input.family ?? '', () =>
    app.client.send(new RegisterTaskDefinitionCommand(input)),
  );
  return shortName(taskDefinition?.taskDefinitionArn);
}

/** The newest revisions of a family, oldest first. */
export async function revisionsOf(app: EcsApp, family: string): Promise<Revision[]> {
  const { ListTaskDefinitionsCommand } = await import('@aws-sdk/client-ecs');
  const input = { familyPrefix: family, status: 'ACTIVE', sort: 'DESC', maxResults: KNOWN } as const;
  const { taskDefinitionArns = [] } = await ask(app, 'ecs:ListTaskDefinitions', family, (options) =>
    app.client.send(new ListTaskDefinitionsCommand(input), options),
  );
  const newest = await Promise.all(taskDefinitionArns.map((arn) => describeRevision(app, arn)));
  return newest.reverse();
}

/** What was recorded of these revisions, oldest first. */
export function recordsOf(
  revisions: readonly Revision[],
  repositories: readonly string[],
): DeploymentRecord[] {
  return revisions
    .flatMap(({ definition, tags }) =>
      recordsIn(tags, pinsOf(definition, repositories), shortName(definition.taskDefinitionArn)),
    )
    .sort((a, b) => a.at.localeCompare(b.at));
}

/** Adds to a revision's tags. */
export async function tag(app: EcsApp, arn: string, tags: Tag[]): Promise<void> {
  const { TagResourceCommand } = await import('@aws-sdk/client-ecs');
  await tell('ecs:TagResource', shortName(arn), () =>
    app.client.send(new TagResourceCommand({ resourceArn: arn, tags })),
  );
}
