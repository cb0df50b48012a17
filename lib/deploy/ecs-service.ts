import { setTimeout as sleep } from 'node:timers/promises';
import type {
  ECS,
  RegisterTaskDefinitionCommandInput,
  Service,
  Tag,
  TaskDefinition,
} from '@aws-sdk/client-ecs';
import { awsFailure } from '../aws.ts';
import { EXIT, Failure } from '../failure.ts';
import type { DeploymentRecord, Pin, Release } from './deployment.ts';
import { imageText, parseImage } from './settings.ts';

/** The service that TARGET names, and how it is called. */
export interface EcsApp {
  readonly ecs: ECS;
  readonly region: string | undefined;
  readonly cluster: string;
  readonly service: string;
  readonly signal: AbortSignal;
}

const THROTTLED_PAUSE_MS = 1_000;
/** A limit that is not lifted by then is not going to be: somebody else has to raise it. */
const THROTTLED_MS = 900_000;

/**
 * A call that only reads. Being throttled for a while is not a failure; the signal ends it.
 * @param call as policies name it: `ecs:DescribeServices`
 * @throws Failure that names the call and what it was about
 */
export async function ask<T>(
  app: Pick<EcsApp, 'signal'>,
  call: string,
  on: string,
  act: (options: { abortSignal: AbortSignal }) => Promise<T>,
): Promise<T> {
  for (const begun = Date.now(); ; await pause(app, THROTTLED_PAUSE_MS)) {
    try {
      return await act({ abortSignal: app.signal });
    } catch (error) {
      app.signal.throwIfAborted();
      const isThrottled = /Throttl|TooManyRequests/.test((error as Error).name);
      if (!isThrottled || Date.now() - begun > THROTTLED_MS) throw awsFailure(error, call, on);
    }
  }
}

/** A call that changes something: the SDK tries it again where that is safe. @throws Failure */
export async function send<T>(call: string, on: string, act: () => Promise<T>): Promise<T> {
  try {
    return await act();
  } catch (error) {
    throw awsFailure(error, call, on);
  }
}

/** Waits for so many milliseconds. @throws what the app's signal was aborted with */
export async function pause({ signal }: Pick<EcsApp, 'signal'>, ms: number): Promise<void> {
  await sleep(ms, undefined, { signal }).catch(() => signal.throwIfAborted());
}

/**
 * The service as ECS describes it now.
 * @throws Failure that differs for a service that never was, one that is deleted, and one that is being deleted
 */
export async function describeService({ ecs, ...app }: EcsApp): Promise<Service> {
  const { cluster, service } = app;
  const { services: [found] = [] } = await ask(
    app,
    'ecs:DescribeServices',
    `${cluster}/${service}`,
    (options) => ecs.describeServices({ cluster, services: [service] }, options),
  ).catch((error: unknown) => {
    const { name } = ((error as Failure).cause ?? {}) as Error;
    if (name !== 'ClusterNotFoundException') throw error;
    throw new Failure(`there is no cluster ${cluster}`, {
      exit: EXIT.usage,
      next: 'correct TARGET, AWS_REGION or AWS_PROFILE',
    });
  });
  if (!found)
    throw new Failure(`there is no service ${service} in the cluster ${cluster}`, {
      exit: EXIT.usage,
      next: `correct TARGET; services there: aws ecs list-services --cluster ${cluster}`,
    });
  if (found.status === 'ACTIVE') return found;
  const how = found.status === 'INACTIVE' ? 'was deleted' : 'is being deleted';
  throw new Failure(`the service ${service} of ${cluster} ${how} (${found.status})`, {
    next: 'create it again, then deploy',
  });
}

/** How many tasks the service wants, within which percentages of that, and so how many a deployment can start at once. */
export function capacityOf({ desiredCount: desired = 0, deploymentConfiguration = {} }: Service) {
  const { minimumHealthyPercent: least = 100, maximumPercent: most = 200 } = deploymentConfiguration;
  const room = Math.floor((desired * most) / 100) - Math.ceil((desired * least) / 100);
  return { desired, least, most, room };
}

/** A task definition with its tags. */
export interface Revision {
  readonly definition: TaskDefinition;
  readonly tags: Readonly<Record<string, string>>;
}

/** The revision of this name or ARN. */
export async function describeRevision(app: EcsApp, taskDefinition: string): Promise<Revision> {
  const { taskDefinition: definition = {}, tags = [] } = await ask(
    app,
    'ecs:DescribeTaskDefinition',
    shortName(taskDefinition),
    (options) => app.ecs.describeTaskDefinition({ taskDefinition, include: ['TAGS'] }, options),
  );
  return { definition, tags: Object.fromEntries(tags.map(({ key = '', value = '' }) => [key, value])) };
}

/** `family:7` of an ARN. */
export const shortName = (arn: string | undefined): string => arn?.split('/').at(-1) ?? '';

/** A record is one tag: its name says when, its value what was done and how it went. */
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
  const tags = { 'opsbook:version': version, 'opsbook:commit': commit, 'opsbook:by': who };
  return Object.entries(tags).flatMap(([key, value]) =>
    value === undefined ? [] : [{ key, value: plain(value) }],
  );
}

/** The record of a deployment of a revision; `failed` is last, since it may have to be cut. */
export function recordTag(record: DeploymentRecord): Tag {
  const { at, did, who, from, migrated, backup, verified, failed, returnedTo, ms } = record;
  const facts = {
    ...{ did, verified: verified ? 'yes' : 'no', by: who, from, migrated: migrated ? 'yes' : 'no' },
    ...{ backup, back: returnedTo, ms: String(Math.round(ms)), failed },
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

/** Revisions that are searched for records: a rollback does not go further back. */
const KNOWN = 30;

/** What a running revision has that a new one may not be given: ECS writes it. */
const READ_ONLY: readonly string[] = [
  ...['taskDefinitionArn', 'revision', 'status', 'requiresAttributes', 'compatibilities'],
  ...['registeredAt', 'registeredBy', 'deregisteredAt'],
];

/** The next revision: the current one with other images, and nothing else changed. */
export function nextRevision(
  current: TaskDefinition,
  images: Release['images'],
  tags: Tag[],
): RegisterTaskDefinitionCommandInput {
  const kept = Object.fromEntries(
    Object.entries(current).filter(([name]) => !READ_ONLY.includes(name)),
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
    if (!repositories.includes(imageText({ registry, repository }))) continue;
    pins[name] = { reference: image, id: digest ?? `${repository}:${tag ?? 'latest'}` };
  }
  return pins;
}

/** Registers it. @returns its name, `family:8` */
export async function register({ ecs }: EcsApp, input: RegisterTaskDefinitionCommandInput): Promise<string> {
  const { taskDefinition } = await send('ecs:RegisterTaskDefinition', input.family ?? '', () =>
    ecs.registerTaskDefinition(input),
  );
  return shortName(taskDefinition?.taskDefinitionArn);
}

/** What was recorded of the newest revisions of the service's family, oldest first. */
export async function readRecords(app: EcsApp, repositories: readonly string[]): Promise<DeploymentRecord[]> {
  const familyPrefix = shortName((await describeService(app)).taskDefinition).replace(/:\d+$/, '');
  const input = { familyPrefix, status: 'ACTIVE', sort: 'DESC', maxResults: KNOWN } as const;
  const { taskDefinitionArns = [] } = await ask(app, 'ecs:ListTaskDefinitions', familyPrefix, (options) =>
    app.ecs.listTaskDefinitions(input, options),
  );
  const revisions = await Promise.all(taskDefinitionArns.reverse().map((arn) => describeRevision(app, arn)));
  return revisions
    .flatMap(({ definition, tags }) =>
      recordsIn(tags, pinsOf(definition, repositories), shortName(definition.taskDefinitionArn)),
    )
    .sort((a, b) => a.at.localeCompare(b.at));
}

/** Writes a record into the tags of its revision. */
export async function writeRecord(app: EcsApp, record: DeploymentRecord): Promise<void> {
  const { definition, tags } = await describeRevision(app, record.revision ?? '');
  const resourceArn = definition.taskDefinitionArn ?? '';
  const missing = tags['opsbook:version'] === undefined ? releaseTags(record, record.who) : [];
  await send('ecs:TagResource', shortName(resourceArn), () =>
    app.ecs.tagResource({ resourceArn, tags: [...missing, recordTag(record)] }),
  );
}
