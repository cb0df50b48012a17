import { addTarget, drained, removeTarget, targetHealth } from '../elbv2/targets.ts';
import type { State } from '../state.ts';
import type { Task } from './state.ts';

interface Place {
  group: string;
  target: { id: string; port: number };
}

/** Where a task stands in the target groups of its service. */
function places({ service, address }: Task): Place[] {
  if (!service || !address) return [];
  return (service.input.loadBalancers ?? []).map(({ targetGroupArn = '', containerPort = 0 }) => ({
    group: targetGroupArn,
    target: { id: address, port: containerPort },
  }));
}

export const register = async (task: Task, state: State): Promise<void> => {
  await Promise.all(places(task).map(({ group, target }) => addTarget(state, group, target)));
};

/** Takes the task out of its target groups, and waits as long as they drain. */
export async function leave(task: Task, state: State): Promise<void> {
  const all = places(task);
  await Promise.all(all.map(({ group, target }) => removeTarget(state, group, target)));
  await Promise.all(all.map(({ group, target }) => drained(state, group, target)));
}

/** Why the task has to be replaced for its target's sake, after the service's grace period. */
export function targetFault(task: Task, state: State): string | undefined {
  const { secondMs } = state.ecs.faults;
  const grace = (task.service?.input.healthCheckGracePeriodSeconds ?? 0) * secondMs;
  if (task.running === undefined || Date.now() - task.running < grace) return undefined;
  const bad = places(task).find(({ group, target }) => targetHealth(state, group, target) === 'unhealthy');
  return bad && `Task failed ELB health checks in (target-group ${bad.group})`;
}

/** It passes every health check that it has; without any it counts as healthy some time after it began to run. */
export function isHealthy(task: Task, state: State): boolean {
  const { running, json, revision, order } = task;
  if (running === undefined || order || json.lastStatus !== 'RUNNING') return false;
  const all = places(task);
  const checked = (revision.json.containerDefinitions ?? []).some(({ healthCheck }) => healthCheck);
  if (checked && json.healthStatus !== 'HEALTHY') return false;
  if (!all.every(({ group, target }) => targetHealth(state, group, target) === 'healthy')) return false;
  const settled = Date.now() - running >= state.ecs.faults.healthyAfterMs;
  const healthy = checked || all.length > 0 || settled;
  task.wasHealthy ||= healthy;
  return healthy;
}
