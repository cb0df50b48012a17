import { setTimeout as sleep } from 'node:timers/promises';
import type { AwsError } from '../errors.ts';
import type { State } from '../state.ts';
import { openBalancer } from './balance.ts';
import { checkForever } from './check.ts';
import { readConfig } from './config.ts';
import type { Group, Health, Target, TargetId } from './state.ts';

/** Configuration that is older than this is read again. */
const FRESH_MS = 1000;
const LOOK_MS = 100;

/** @throws AwsError when moto knows no such target group */
export async function groupOf(state: State, arn: string): Promise<Group> {
  const known = state.elb.groups.get(arn);
  if (known && Date.now() - known.read < FRESH_MS) return known;
  const config = await readConfig(arn).catch((error: AwsError) => {
    if (known) closeGroup(state, known);
    throw error;
  });
  // Another caller may have opened it meanwhile.
  const group = state.elb.groups.get(arn) ?? openBalancer(state, arn, config);
  Object.assign(group, { config, read: Date.now() });
  return group;
}

function closeGroup({ elb }: State, group: Group): void {
  for (const { gone } of group.targets) gone.abort();
  group.server.close();
  group.server.closeAllConnections();
  elb.groups.delete(group.arn);
}

/** Drops the target group that was deleted, and all that it knew. */
export function forgetGroup(state: State, arn: string): void {
  const group = state.elb.groups.get(arn);
  if (group) closeGroup(state, group);
}

const same = (a: TargetId, b: TargetId): boolean => a.id === b.id && a.port === b.port;
export const find = (group: Group | undefined, target: TargetId): Target | undefined =>
  group?.targets.find((one) => same(one, target));

/** Registers a target; one that drains is taken back into service. */
export async function addTarget(state: State, arn: string, target: TargetId): Promise<void> {
  const group = await groupOf(state, arn);
  const known = find(group, target);
  if (known && known.draining === undefined) return;
  if (known) drop(group, known);
  const added: Target = {
    ...target,
    health: group.config.used ? 'initial' : 'unused',
    reason: group.config.used ? 'Elb.RegistrationInProgress' : 'Target.NotInUse',
    description: group.config.used
      ? 'Target registration is in progress'
      : 'Target group is not configured to receive traffic from the load balancer',
    passed: 0,
    failed: 0,
    gone: new AbortController(),
  };
  group.targets.push(added);
  void checkForever(state, group, added);
}

function drop(group: Group, target: Target): void {
  target.gone.abort();
  group.targets.splice(group.targets.indexOf(target), 1);
}

/** Takes a target out: it gets no new requests, and is told of as draining until the delay is over. */
export async function removeTarget(state: State, arn: string, target: TargetId): Promise<void> {
  const group = await groupOf(state, arn).catch(() => undefined);
  const found = find(group, target);
  // Unknown targets are no error, as AWS has it.
  if (!group || !found || found.draining !== undefined) return;
  const wasUsed = found.health === 'healthy' || found.health === 'unhealthy';
  found.draining = Date.now();
  found.gone.abort();
  if (!wasUsed) return drop(group, found);
  Object.assign(found, {
    health: 'draining',
    reason: 'Target.DeregistrationInProgress',
    description: 'Target deregistration is in progress',
  });
  void undrain(state, group, found);
}

async function undrain({ elb }: State, group: Group, target: Target): Promise<void> {
  const ends = (target.draining ?? 0) + group.config.drain * elb.faults.drainSecondMs;
  while (Date.now() < ends) await sleep(Math.min(LOOK_MS, ends - Date.now()));
  if (group.targets.includes(target)) drop(group, target);
}

/** Waits until a target is not told of any more. */
export async function drained(state: State, arn: string, target: TargetId): Promise<void> {
  while (find(state.elb.groups.get(arn), target)) await sleep(LOOK_MS);
}

export const targetHealth = (state: State, arn: string, target: TargetId): Health | undefined =>
  find(state.elb.groups.get(arn), target)?.health;
