import { setTimeout as sleep } from 'node:timers/promises';
import type { State } from '../state.ts';
import { complete, countFailure, say } from './deployments.ts';
import { live } from './run.ts';
import type { Deployment, Service, Task } from './state.ts';
import { isHealthy } from './targets.ts';
import { isLive, newTask, order } from './task.ts';

/** Looks after all services for ever. */
export async function schedule(state: State): Promise<never> {
  for (;;) {
    for (const service of state.ecs.services.values())
      if (service.status !== 'INACTIVE') reconcile(service, state);
    await sleep(state.ecs.faults.tickMs);
  }
}

/** One look at a service: starts what is missing, ends what is too much, and says how its deployment is. */
function reconcile(service: Service, state: State): void {
  const ended = service.deployments.slice(1).filter(({ tasks }) => tasks.every(isStopped));
  for (const old of ended) old.status = 'INACTIVE';
  service.deployments = service.deployments.filter((one) => !ended.includes(one));
  const primary = service.deployments[0]!;
  if (service.status === 'DRAINING') {
    drainAll(service);
    return;
  }
  const desired = primary.rollout === 'FAILED' ? 0 : service.desired;
  startMissing(service, primary, desired, state);
  if (primary.rollout !== 'FAILED') retire(service, state);
  judge(service, primary, state);
}

const isStopped = ({ json }: Task): boolean => json.lastStatus === 'STOPPED';

function drainAll(service: Service): void {
  const tasks = service.deployments.flatMap((one) => one.tasks);
  for (const task of tasks) orderOut(task, `Scaling activity initiated by (service ${service.name})`);
  if (tasks.every(isStopped)) service.status = 'INACTIVE';
}

const orderOut = (task: Task, reason: string): void =>
  order(task, { reason, code: 'ServiceSchedulerInitiated' });

/** As many as fit under maximumPercent, at once. */
function startMissing(service: Service, primary: Deployment, desired: number, state: State): void {
  const liveNow = service.deployments.flatMap((one) => one.tasks).filter(isLive).length;
  const most = Math.floor(
    (service.desired * (service.input.deploymentConfiguration?.maximumPercent ?? 200)) / 100,
  );
  const missing = Math.min(desired - primary.tasks.filter(isLive).length, most - liveNow);
  if (missing <= 0 || Date.now() < primary.notBefore) return;
  if (state.ecs.faults.noCapacity) {
    say(
      service,
      'was unable to place a task. Reason: Capacity is unavailable at this time. Please try again later or in a different availability zone. For more information, see the Troubleshooting section of the Amazon ECS Developer Guide.',
    );
    primary.notBefore = Date.now() + state.ecs.faults.retryMs;
    countFailure(service, primary, state);
    return;
  }
  const started = Array.from({ length: missing }, () => begin(service, primary, state));
  say(service, `has started ${missing} tasks: ${started.map(({ id }) => `(task ${id})`).join(' ')}.`);
}

function begin(service: Service, deployment: Deployment, state: State): Task {
  const task = newTask(state, {
    cluster: service.cluster,
    revision: deployment.revision,
    group: `service:${service.name}`,
    startedBy: deployment.id,
    service,
    deployment,
  });
  deployment.tasks.push(task);
  void live(task, state);
  task.stop.signal.addEventListener('abort', () => {
    const mine = task.deployment ?? deployment;
    if (endedByItself(task)) countFailure(service, mine, state);
  });
  return task;
}

/** Neither scaled in nor replaced by a newer deployment. */
const endedByItself = ({ order: given }: Task): boolean =>
  given !== undefined && !given.reason.startsWith('Scaling activity');

/** Ends what is too much: tasks of older deployments as far as enough healthy ones stay, and those beyond desiredCount. */
function retire(service: Service, state: State): void {
  const [primary, ...older] = service.deployments;
  const least = Math.ceil(
    (service.desired * (service.input.deploymentConfiguration?.minimumHealthyPercent ?? 100)) / 100,
  );
  const tasks = service.deployments.flatMap((one) => one.tasks).filter(isLive);
  let healthy = tasks.filter((task) => isHealthy(task, state)).length;
  const surplus = primary!.tasks.filter(isLive).slice(service.desired);
  const out: Task[] = [];
  for (const task of [...surplus, ...older.flatMap((one) => one.tasks).filter(isLive)]) {
    const counts = isHealthy(task, state);
    if (counts && healthy - 1 < least) continue;
    if (counts) healthy -= 1;
    orderOut(task, `Scaling activity initiated by (deployment ${primary!.id})`);
    out.push(task);
  }
  if (out.length > 0)
    say(
      service,
      `has stopped ${out.length} running tasks: ${out.map(({ id }) => `(task ${id})`).join(' ')}.`,
    );
}

function judge(service: Service, primary: Deployment, state: State): void {
  const liveOnes = primary.tasks.filter(isLive);
  const healthy = liveOnes.filter((task) => isHealthy(task, state)).length;
  if (healthy > 0 && !primary.proven) Object.assign(primary, { proven: true, failed: 0 });
  primary.tasks = primary.tasks.filter((task) => !isStopped(task));
  const alone = service.deployments.length === 1 && primary.tasks.length === liveOnes.length;
  const steady = alone && healthy === service.desired && liveOnes.length === service.desired;
  if (!steady) return;
  if (primary.rollout === 'IN_PROGRESS') complete(service, primary);
  if (service.steady === primary.id) return;
  service.steady = primary.id;
  say(service, 'has reached a steady state.');
}
