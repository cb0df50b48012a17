import type {
  Deployment,
  Service,
  ServiceDeploymentBrief,
  TaskDefinition,
  UpdateServiceCommandInput,
} from '@aws-sdk/client-ecs';
import { elbv2Client } from '../aws.ts';
import { Failure } from '../failure.ts';
import { duration } from '../format.ts';
import { Superseded } from './deployment.ts';
import {
  ask,
  capacityOf,
  describeRevision,
  describeService,
  type EcsApp,
  pause,
  send,
  shortName,
} from './ecs-service.ts';
import { deadTasks } from './ecs-tasks.ts';

const FIRST_POLL_MS = 500;
const SLOWEST_POLL_MS = 2_000;
const SLOWER = 1.2;
const WATCH_MS = 1_000;
/** ECS may date a deployment a little before we saw it begin. */
const SLACK_MS = 1_000;

interface Times {
  /** What a new task may take until it is healthy. */
  readonly healthTimeoutMs: number;
  /** For how long nothing of it may end, after it was complete. */
  readonly healthyForMs: number;
  /** How long the whole may take, where it is not derived from the service. */
  readonly waitMs?: number | undefined;
}

/** A deployment as UpdateService answered it: from here on only this one counts. */
interface Started {
  readonly id: string;
  readonly revision: string;
  /** When it was created, by ECS's clock: events before that are about others. */
  readonly since: Date;
  /** The deployment that was in front before: an answer that still has it there is an old one. */
  readonly before: string | undefined;
}

/**
 * Has the service run a revision, and follows the deployment that does it by its own id. One that is in progress
 * already, by a run that was cut off or by ECS that went back to it, is followed and not begun again.
 * @throws Failure as {@link follow} does, and for tasks that end after all were healthy
 */
export async function switchTo(
  app: EcsApp,
  revision: string,
  times: Times,
  note: (text: string) => void,
  announce: (id: string) => void,
): Promise<void> {
  const service = await describeService(app);
  const [primary] = service.deployments ?? [];
  const isBegun = shortName(primary?.taskDefinition) === revision && primary?.rolloutState !== 'FAILED';
  const ours = isBegun ? primary : await update(app, updateInput(service, revision));
  const { id = '', createdAt: since = new Date() } = ours ?? {};
  const started = { id, revision, since, before: isBegun ? undefined : primary?.id };
  announce(id);
  const { definition } = await describeRevision(app, revision);
  const timeoutMs =
    times.waitMs ?? (await deploymentTimeout(app, service, definition, times.healthTimeoutMs));
  const complete = await follow(app, started, timeoutMs, note);
  note(`${started.id} is complete`);
  await watch(app, revision, complete, times.healthyForMs);
}

/** Updates the service. @returns the deployment that this began */
async function update({ ecs, service }: EcsApp, input: UpdateServiceCommandInput) {
  const answer = await send('ecs:UpdateService', service, () => ecs.updateService(input));
  return answer.service?.deployments?.find(({ status }) => status === 'PRIMARY');
}

/** The update: another revision, and ECS gives up and goes back when its tasks do not get healthy. */
export function updateInput(service: Service, revision: string): UpdateServiceCommandInput {
  const { deploymentConfiguration = {} } = service;
  return {
    cluster: service.clusterArn,
    service: service.serviceName,
    taskDefinition: revision,
    // It replaces the object: what was there is sent along.
    deploymentConfiguration: {
      ...deploymentConfiguration,
      deploymentCircuitBreaker: {
        ...deploymentConfiguration.deploymentCircuitBreaker,
        ...{ enable: true, rollback: true },
      },
    },
  };
}

/**
 * Waits until this deployment is the service's only one and complete; nothing else is success.
 * "The service is stable" is also true of a service that has been rolled back.
 * @returns when it was complete, by ECS's clock
 * @throws Failure that differs for failed, rolled back, superseded, gone and too slow
 */
async function follow(
  app: EcsApp,
  started: Started,
  timeoutMs: number,
  note: (text: string) => void,
): Promise<Date> {
  const begun = Date.now();
  for (let ms = FIRST_POLL_MS; ; ms = Math.min(ms * SLOWER, SLOWEST_POLL_MS)) {
    const service = await describeService(app);
    const done = await whenDone(app, service, started);
    if (done) return done;
    note(progress(service, started));
    const waited = Date.now() - begun;
    if (waited > timeoutMs)
      throw new Failure(
        `the deployment ${started.id} of ${started.revision} is not complete after ${duration(waited)}: ${progress(service, started)}${lastTrouble(service, started)}`,
      );
    await pause(app, ms);
  }
}

async function whenDone(app: EcsApp, service: Service, started: Started): Promise<Date | undefined> {
  const deployments = service.deployments ?? [];
  const ours = deployments.find(({ id }) => id === started.id);
  const primary = deployments[0];
  if (!ours && primary !== undefined && primary.id === started.before) return undefined;
  if (ours?.rolloutState === 'FAILED') throw failed(service, started, ours);
  if (!ours || ours !== primary) throw await whatBecame(app, started, primary, lastTrouble(service, started));
  if (ours.rolloutState !== 'COMPLETED') return undefined;
  const { desiredCount = 0, runningCount = 0 } = service;
  if (desiredCount === 0)
    throw new Failure(`${started.revision} is deployed with nothing running: the desired count became 0`, {
      next: 'raise the desired count, then deploy again',
    });
  return runningCount >= desiredCount ? (ours.updatedAt ?? new Date()) : undefined;
}

/**
 * What became of a deployment that is not in front any more: ECS went back by itself, or somebody deployed something
 * else. Where ECS's own record of it may not be read, what is in front now has to show it.
 * @param trouble the service's last event about trouble, if there is one
 */
async function whatBecame(
  app: EcsApp,
  started: Started,
  primary: Deployment | undefined,
  trouble: string,
): Promise<Failure> {
  const other = shortName(primary?.taskDefinition);
  const ended = `the deployment ${started.id} of ${started.revision}`;
  if (!primary) return new Failure(`${ended} is gone, and the service has no other`);
  const status = (await recordOf(app, started))?.status;
  if (status ? status.startsWith('ROLLBACK') : isRollback(primary))
    return new Failure(`ECS rolled ${ended} back to ${other}${trouble}`);
  const { tags } = await describeRevision(app, primary.taskDefinition ?? '');
  const what = tags['opsbook:version'] ? `${tags['opsbook:version']} (${other})` : other;
  return new Superseded(`${ended} was superseded by ${primary.id} of ${what}`, {
    next: 'agree with whoever deploys there; list-deployments shows what runs',
  });
}

/** ECS's record of a service deployment, which stays when the deployment is gone; a rollback is a part of it. */
async function recordOf(app: EcsApp, { since }: Started): Promise<ServiceDeploymentBrief | undefined> {
  const { cluster, service } = app;
  const createdAt = { after: new Date(since.getTime() - SLACK_MS) };
  try {
    const { serviceDeployments = [] } = await ask(app, 'ecs:ListServiceDeployments', service, (options) =>
      app.ecs.listServiceDeployments({ cluster, service, createdAt }, options),
    );
    const began = ({ createdAt: at }: ServiceDeploymentBrief) => at?.getTime() ?? 0;
    return serviceDeployments.sort((a, b) => began(a) - began(b))[0];
  } catch {
    app.signal.throwIfAborted();
    return undefined; // it may not be read, or ECS is older than these records
  }
}

const isRollback = ({ rolloutStateReason = '' }: Deployment): boolean =>
  /roll(ing|ed)? ?back/i.test(rolloutStateReason);

function failed(service: Service, started: Started, ours: Deployment): Failure {
  const [primary] = service.deployments ?? [];
  const isBack = primary && primary !== ours && isRollback(primary);
  const back = isBack ? `; ECS goes back to ${shortName(primary.taskDefinition)}` : '';
  const why = (ours.rolloutStateReason ?? 'no reason given').replace(/\.$/, '');
  return new Failure(
    `ECS gave up the deployment ${ours.id} of ${started.revision}: ${why}${back}${lastTrouble(service, started)}`,
  );
}

/** How far it is, in one line. */
function progress(service: Service, { id, revision }: Started): string {
  const ours = service.deployments?.find((one) => one.id === id);
  const old = (service.deployments ?? []).filter((one) => one.id !== id);
  const still = old.reduce((sum, { runningCount = 0 }) => sum + runningCount, 0);
  const { runningCount = 0, pendingCount = 0, failedTasks = 0, rolloutState } = ours ?? {};
  const parts = [`${runningCount} of ${service.desiredCount} of ${revision} run`];
  if (pendingCount > 0) parts.push(`${pendingCount} start`);
  if (failedTasks > 0) parts.push(`${failedTasks} failed`);
  if (still > 0) parts.push(`${still} old ones run`);
  else if (old.length > 0) parts.push('old ones drain');
  return `${parts.join(', ')} (${rolloutState ?? 'gone'})`;
}

/** The newest event of the service since then that is about trouble, for the end of a message. */
function lastTrouble(service: Service, { since }: Started): string {
  const event = (service.events ?? []).find(
    ({ message = '', createdAt }) =>
      (createdAt ?? since) >= since && /unable to|unhealthy|failed to launch|was stopped/i.test(message),
  );
  return event ? `; ECS says: ${event.message}` : '';
}

/** The circuit breaker does not count tasks that end after the deployment is complete: we do, for a while. */
async function watch(app: EcsApp, revision: string, since: Date, forMs: number): Promise<void> {
  const until = Date.now() + forMs;
  for (;;) {
    const [dead] = await deadTasks(app, revision, since);
    if (dead)
      throw new Failure(`a task of ${revision} ended soon after it was healthy: ${dead.stoppedReason}`);
    const left = until - Date.now();
    if (left <= 0) return;
    await pause(app, Math.min(WATCH_MS, left));
  }
}

/** How long load balancers drain, and tasks may take to stop, by default; in seconds. */
const DRAIN_S = 300;
const STOP_S = 30;

/**
 * How long a deployment may take, in milliseconds: each batch of tasks has to start, to become healthy, and to
 * let the old ones drain and end.
 * @param healthTimeoutMs what a new task may take until it is healthy
 */
export async function deploymentTimeout(
  app: EcsApp,
  service: Service,
  definition: TaskDefinition,
  healthTimeoutMs: number,
): Promise<number> {
  const groups = (service.loadBalancers ?? []).flatMap(({ targetGroupArn }) => targetGroupArn ?? []);
  const drains = await Promise.all(groups.map((arn) => drainSeconds(app, arn)));
  const stops = (definition.containerDefinitions ?? []).map(({ stopTimeout }) => stopTimeout ?? STOP_S);
  const { desired, room } = capacityOf(service);
  const batches = Math.ceil(desired / Math.max(1, room));
  const grace = (service.healthCheckGracePeriodSeconds ?? 0) * 1000;
  const ending = (Math.max(0, ...drains) + Math.max(0, ...stops)) * 1000;
  return batches * (Math.max(healthTimeoutMs, grace) + ending);
}

async function drainSeconds(app: EcsApp, arn: string): Promise<number> {
  const { DescribeTargetGroupAttributesCommand } = await import('@aws-sdk/client-elastic-load-balancing-v2');
  const client = await elbv2Client(app.region);
  try {
    const { Attributes = [] } = await ask(
      app,
      'elasticloadbalancing:DescribeTargetGroupAttributes',
      arn,
      (options) => client.send(new DescribeTargetGroupAttributesCommand({ TargetGroupArn: arn }), options),
    );
    const found = Attributes.find(({ Key }) => Key === 'deregistration_delay.timeout_seconds');
    return Number(found?.Value ?? DRAIN_S);
  } catch {
    app.signal.throwIfAborted();
    return DRAIN_S; // it may not be read
  }
}
