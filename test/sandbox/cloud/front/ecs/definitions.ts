import type {
  DeregisterTaskDefinitionCommandInput,
  DescribeTaskDefinitionCommandInput,
  ListTaskDefinitionsCommandInput,
  Tag,
  TaskDefinition,
} from '@aws-sdk/client-ecs';
import { AwsError } from '../errors.ts';
import type { Operation } from '../service.ts';
import type { State } from '../state.ts';
import { arn, shortName, wire } from './names.ts';
import type { RegisterInput, Revision } from './state.ts';

const bad = (text: string): AwsError => new AwsError('ClientException', text);

/** Tags are what AWS takes as such: letters of any script, digits, blanks and `+ - = . _ : / @`. */
function checkTags(tags: readonly Tag[]): void {
  if (tags.length > 50) throw new AwsError('InvalidParameterException', 'Too many tags');
  const allowed = /^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$/u;
  for (const { key = '', value = '' } of tags)
    if (!allowed.test(key + value) || key.length > 128 || value.length > 256 || /^aws:/i.test(key))
      throw new AwsError('InvalidParameterException', `Invalid tag: ${key}=${value}`);
}

/**
 * `family`, `family:revision` or an ARN; a family alone is its newest ACTIVE revision.
 * @throws AwsError as AWS does when there is none
 */
export function revisionOf({ ecs }: State, name = ''): Revision {
  const [family = '', revision] = shortName(name).split(':');
  const all = ecs.families.get(family) ?? [];
  const found = revision
    ? all.find(({ json }) => json.revision === Number(revision))
    : all.findLast(({ json }) => json.status === 'ACTIVE');
  if (!found) throw bad('Unable to describe task definition.');
  return found;
}

export const registerTaskDefinition: Operation = {
  run(input: RegisterInput, state) {
    const { tags = [], ...rest } = input;
    checkTags(tags);
    const readOnly = ['taskDefinitionArn', 'revision', 'status', 'compatibilities', 'registeredAt'];
    const unknown = readOnly.filter((name) => name in input);
    if (unknown.length > 0) throw bad(`Unknown parameter in input: "${unknown.join('", "')}"`);
    if (!rest.family || !rest.containerDefinitions?.length)
      throw bad('Family and container definitions are required');
    if (rest.requiresCompatibilities?.includes('FARGATE') && (!rest.cpu || !rest.memory))
      throw bad(`No Fargate configuration exists for given values: ${rest.cpu} CPU, ${rest.memory} memory.`);
    const revisions = state.ecs.families.get(rest.family) ?? [];
    const revision = revisions.length + 1;
    const containers = rest.containerDefinitions.map((one) => ({ essential: true, ...one }));
    const json: TaskDefinition = {
      ...(rest as TaskDefinition),
      containerDefinitions: containers,
      taskDefinitionArn: arn(state, `task-definition/${rest.family}:${revision}`),
      revision,
      status: 'ACTIVE',
      compatibilities: ['EC2', 'FARGATE'],
      requiresAttributes: [{ name: 'com.amazonaws.ecs.capability.docker-remote-api.1.18' }],
      registeredAt: new Date(),
      registeredBy: `arn:aws:iam::${state.account}:root`,
    };
    state.ecs.families.set(rest.family, [...revisions, { json, tags }]);
    return wire({ taskDefinition: json, tags });
  },
};

export const describeTaskDefinition: Operation = {
  run({ taskDefinition, include = [] }: DescribeTaskDefinitionCommandInput, state) {
    const { json, tags } = revisionOf(state, taskDefinition);
    return wire({ taskDefinition: json, ...(include.includes('TAGS') ? { tags } : {}) });
  },
};

export const listTaskDefinitions: Operation = {
  run(input: ListTaskDefinitionsCommandInput, { ecs }) {
    const { familyPrefix, status = 'ACTIVE', sort = 'ASC', maxResults = 100, nextToken } = input;
    // The name says prefix, but a family has to be named whole.
    const families = familyPrefix ? [ecs.families.get(familyPrefix) ?? []] : [...ecs.families.values()];
    const all = families
      .flat()
      .filter(({ json }) => json.status === status)
      .map(({ json }) => json.taskDefinitionArn);
    if (sort === 'DESC') all.reverse();
    const start = Number(nextToken ?? 0);
    const next = start + maxResults < all.length ? { nextToken: String(start + maxResults) } : {};
    return { taskDefinitionArns: all.slice(start, start + maxResults), ...next };
  },
};

export const deregisterTaskDefinition: Operation = {
  run({ taskDefinition = '' }: DeregisterTaskDefinitionCommandInput, state) {
    if (!/:\d+$/.test(taskDefinition)) throw bad('Revision is required.');
    const { json } = revisionOf(state, taskDefinition);
    Object.assign(json, { status: 'INACTIVE', deregisteredAt: new Date() });
    return wire({ taskDefinition: json });
  },
};

/** Tags of a revision after it was registered. */
export const tagResource: Operation = {
  run({ resourceArn = '', tags = [] }: { resourceArn?: string; tags?: Tag[] }, state) {
    if (!resourceArn.includes(':task-definition/'))
      throw new AwsError('InvalidParameterException', 'Only task definitions are tagged here.');
    checkTags(tags);
    const revision = revisionOf(state, resourceArn);
    const kept = revision.tags.filter(({ key }) => !tags.some((tag) => tag.key === key));
    revision.tags = [...kept, ...tags];
    return {};
  },
};

export const listTagsForResource: Operation = {
  run({ resourceArn = '' }: { resourceArn?: string }, state) {
    return { tags: revisionOf(state, resourceArn).tags };
  },
};
