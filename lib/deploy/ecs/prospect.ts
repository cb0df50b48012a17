import type { Service, TaskDefinition } from '@aws-sdk/client-ecs';
import { checkAll, EXIT, Failure } from '../../failure.ts';
import { type ImageReference, imageText, parseImage } from '../image-reference.ts';
import type { Pin, Prospect, Release, Wanted } from '../strategy.ts';
import { describeRevision, describeService, type EcsApp, type Revision, shortName } from './calls.ts';
import { findImage } from './image.ts';
import { refuseMissingSecrets, refuseSecond, refuseUnfit } from './preflight.ts';
import { nextRevision, register } from './revisions.ts';
import { hasRecords, releaseTags } from './tags.ts';

/** Looks at everything that an update needs. @throws Problems with all that is wrong */
export async function prospectOf(app: EcsApp, wanted: Wanted, who: string): Promise<Prospect> {
  if ('commit' in wanted)
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
    ...wanted.images.map((image) => async () => {
      const containers = containersOf(current.definition, image);
      const { reference, digest } = await findImage(app, image, current.definition.runtimePlatform);
      for (const name of containers) pins[name] = { reference, id: digest };
    }),
  ]);
  const release = { version: wanted.version, images: inOrder(current.definition, pins) };
  await refuseSecond(app, service, (arn) => arn === service.taskDefinition && isThis(current, release));
  const cutOff = isThis(current, release) && !isRecorded(current, service);
  return prospect(app, current.definition, release, {
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
export async function prospectOfReturn(
  app: EcsApp,
  release: Release & { revision: string },
): Promise<Prospect> {
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
  return prospect(app, now.definition, release, { plan: [], obtain: async () => release.revision });
}

interface Obtaining {
  plan: string[];
  obtain: () => Promise<string>;
}

function prospect(app: EcsApp, now: TaskDefinition, release: Release, { plan, obtain }: Obtaining): Prospect {
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
    plan: {
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
