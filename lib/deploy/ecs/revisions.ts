import type { RegisterTaskDefinitionCommandInput, Tag, TaskDefinition } from '@aws-sdk/client-ecs';
import { imageText, parseImage } from '../image-reference.ts';
import type { DeploymentRecord } from '../record.ts';
import type { Pin, Release } from '../strategy.ts';
import { ask, describeRevision, type EcsApp, type Revision, shortName, tell } from './calls.ts';
import { recordsIn } from './tags.ts';

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
