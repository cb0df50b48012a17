import { AwsError } from '../errors.ts';
import { type Instance, instances } from '../instances.ts';
import type { State } from '../state.ts';
import type { SendInput } from './validate.ts';

/** Instances whose agent has registered with SSM. */
export async function managedNodes({ ssm }: State): Promise<Instance[]> {
  return (await instances()).filter(({ id }) => !ssm.faults.unregistered.includes(id));
}

/** Whether the agent of a managed node can be reached now. */
export const isOnline = ({ id, running, paused }: Instance, { ssm }: State): boolean =>
  running && !paused && !ssm.faults.lost.includes(id);

function isTarget(
  node: Instance,
  { Key = '', Values = [] }: NonNullable<SendInput['Targets']>[number],
): boolean {
  if (Key === 'InstanceIds') return Values.includes(node.id);
  if (Key === 'tag-key') return Values.some((key) => key in node.tags);
  return Values.includes(node.tags[Key.slice('tag:'.length)] ?? '\0');
}

/**
 * The nodes that a command is for. A tag may match none; an instance named by its id must be there and running, though
 * its agent may be out of reach.
 * @throws AwsError InvalidInstanceId
 */
export async function targetNodes(input: SendInput, state: State): Promise<Instance[]> {
  const nodes = await managedNodes(state);
  if (!input.InstanceIds?.length)
    return nodes.filter((node) => node.running && input.Targets?.every((target) => isTarget(node, target)));
  const found = [...new Set(input.InstanceIds)].map(
    (id) => nodes.find((node) => node.id === id && node.running) ?? id,
  );
  const missing = found.filter((one) => typeof one === 'string');
  if (missing.length === 0) return found as Instance[];
  const text = `Instances [[${missing.join(', ')}]] not in a valid state for account ${state.account}`;
  throw new AwsError('InvalidInstanceId', text);
}
