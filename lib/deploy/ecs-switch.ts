import { setTimeout as sleep } from 'node:timers/promises';
import type {
  Deployment,
  Service,
  ServiceDeploymentBrief,
  Task,
  TaskDefinition,
  UpdateServiceCommandInput,
} from '@aws-sdk/client-ecs';
import { elbv2Client, logsClient } from '../aws.ts';
import { Failure } from '../failure.ts';
import { duration } from '../format.ts';
import { redact } from '../secret.ts';
import { Superseded } from './deployment.ts';
import { ask, describeRevision, describeService, type EcsApp, shortName, tell } from './ecs-service.ts';

/** Tasks whose end is told whole: the others ended as they did. */
const TOLD = 2;
const LINES = 10;

/** Tasks of a revision that have ended by themselves, the last one first. */
async function deadTasks(app: EcsApp, revision: string, since?: Date): Promise<Task[]> {
  const { DescribeTasksCommand, ListTasksCommand } = await import('@aws-sdk/client-ecs');
  const { cluster, service: serviceName } = app;
  const { taskArns = [] } = await ask(app, 'ecs:ListTasks', serviceName, (options) =>
    app.client.send(new ListTasksCommand({ cluster, serviceName, desiredStatus: 'STOPPED' }), options),
  );
  if (taskArns.length === 0) return [];
  const { tasks = [] } = await ask(app, 'ecs:DescribeTasks', serviceName, (options) =>
    app.client.send(new DescribeTasksCommand({ cluster, tasks: taskArns }), options),
  );
  const began = (task: Task) => task.createdAt?.getTime() ?? 0;
  return tasks
    .filter((task) => shortName(task.taskDefinitionArn) === revision)
    .filter((task) => !/^Scaling activity/.test(task.stoppedReason ?? ''))
    .filter((task) => !since || (task.stoppingAt ?? task.createdAt ?? since) >= since)
    .sort((a, b) => began(b) - began(a));
}

/** How a task ended: its reason, its containers' exit codes, and the last lines of each. */
export async function describeEnd(app: EcsApp, task: Task): Promise<string[]> {
  const lines = [`task ${shortName(task.taskArn).slice(0, 12)}: ${task.stoppedReason ?? 'stopped'}`];
  for (const { name = '', exitCode, reason, healthStatus } of task.containers ?? []) {
    const facts = [
      exitCode === undefined ? '' : `exit code ${exitCode}`,
      reason && reason !== task.stoppedReason ? reason : '',
      healthStatus === 'UNHEALTHY' ? 'unhealthy' : '',
    ].filter(Boolean);
    lines.push(`  ${name}: ${facts.join(', ') || 'never ran'}`);
    lines.push(...(await lastLines(app, task, name)).map((line) => `    ${line}`));
  }
  return lines;
}

/** Why tasks of a revision ended, the newest ones first. */
export async function describeDeaths(app: EcsApp, revision: string): Promise<string[]> {
  const dead = await deadTasks(app, revision);
  const told = (await Promise.all(dead.slice(0, TOLD).map((task) => describeEnd(app, task)))).flat();
  return dead.length > TOLD ? [...told, `${dead.length - TOLD} more tasks ended before`] : told;
}

/** What a container wrote last, from CloudWatch, where its task definition sends it there. */
async function lastLines(app: EcsApp, task: Task, container: string): Promise<string[]> {
  const { definition } = await describeRevision(app, task.taskDefinitionArn ?? '');
  const log = definition.containerDefinitions?.find(({ name }) => name === container)?.logConfiguration;
  const { 'awslogs-group': group, 'awslogs-stream-prefix': prefix } = log?.options ?? {};
  if (log?.logDriver !== 'awslogs' || !group || !prefix) return [];
  const { GetLogEventsCommand } = await import('@aws-sdk/client-cloudwatch-logs');
  const client = await logsClient(log.options?.['awslogs-region'] ?? app.region);
  const logStreamName = `${prefix}/${container}/${shortName(task.taskArn)}`;
  try {
    const { events = [] } = await client.send(
      new GetLogEventsCommand({ logGroupName: group, logStreamName, limit: LINES, startFromHead: false }),
      { abortSignal: app.signal },
    );
    return events.map(({ message = '' }) => redact(message.trimEnd()));
  } catch (error) {
    app.signal.throwIfAborted();
    return [`(no log lines: ${(error as Error).name} on ${group} ${logStreamName})`];
  }
}

const SLACK_MS = 1_000;

/**
 * What became of a deployment that is not in front any more: ECS went back by itself, or somebody deployed something
 * else. Where ECS's own record of it may not be read, what is in front now has to tell.
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
  const rolledBack = status
    ? status.startsWith('ROLLBACK')
    : /roll(ing|ed)? ?back/i.test(primary.rolloutStateReason ?? '');
  if (rolledBack) return new Failure(`ECS rolled ${ended} back to ${other}${trouble}`);
  const { tags } = await describeRevision(app, primary.taskDefinition ?? '');
  const what = tags['opsbook:version'] ? `${tags['opsbook:version']} (${other})` : other;
  return new Superseded(`${ended} was superseded by ${primary.id} of ${what}`, {
    next: 'agree with whoever deploys there; list-deployments shows what runs',
  });
}

/** ECS's record of a service deployment, which stays when the deployment is gone; a rollback is a part of it. */
async function recordOf(app: EcsApp, { since }: Started): Promise<ServiceDeploymentBrief | undefined> {
  const { ListServiceDeploymentsCommand } = await import('@aws-sdk/client-ecs');
  const { cluster, service } = app;
  const createdAt = { after: new Date(since.getTime() - SLACK_MS) };
  try {
    const { serviceDeployments = [] } = await ask(app, 'ecs:ListServiceDeployments', service, (options) =>
      app.client.send(new ListServiceDeploymentsCommand({ cluster, service, createdAt }), options),
    );
    const began = ({ createdAt: at }: ServiceDeploymentBrief) => at?.getTime() ?? 0;
    return serviceDeployments.sort((a, b) => began(a) - began(b))[0];
  } catch {
    app.signal.throwIfAborted();
    return undefined; // it may not be read, or ECS is older than these records
  }
}

const FIRST_POLL_MS = 500;
const SLOWEST_POLL_MS = 2_000;
const SLOWER = 1.2;

/** A deployment as UpdateService answered it: from here on only this one counts. */
export interface Started {
  readonly id: string;
  readonly revision: string;
  /** When it was created, as ECS tells: events before that are about others. */
  readonly since: Date;
  /** The deployment that was in front before: an answer that still has it there is an old one. */
  readonly before?: string | undefined;
}

/**
 * Waits until this deployment is the service's only one and complete; nothing else is success.
 * "The service is stable" is also true of a service that has been rolled back.
 * @returns when it was complete, by ECS's clock
 * @throws Failure that tells failed, rolled back, superseded, gone and too slow apart
 */
async function follow(
  app: EcsApp,
  started: Started,
  timeoutMs: number,
  note: (text: string) => void,
): Promise<Date> {
  const begun = Date.now();
  for (let pause = FIRST_POLL_MS; ; pause = Math.min(pause * SLOWER, SLOWEST_POLL_MS)) {
    const service = await describeService(app);
    const done = await whenDone(app, service, started);
    if (done) return done;
    note(progress(service, started));
    const waited = Date.now() - begun;
    if (waited > timeoutMs) throw tooSlow(service, started, waited);
    await sleep(pause, undefined, { signal: app.signal }).catch(() => app.signal.throwIfAborted());
  }
}

async function whenDone(app: EcsApp, service: Service, started: Started): Promise<Date | undefined> {
  const deployments = service.deployments ?? [];
  const ours = deployments.find(({ id }) => id === started.id);
  const primary = deployments[0];
  if (!ours && primary !== undefined && primary.id === started.before) return undefined;
  if (ours?.rolloutState === 'FAILED') throw failed(service, started, ours, primary);
  if (!ours || ours !== primary) throw await whatBecame(app, started, primary, lastTrouble(service, started));
  if (ours.rolloutState !== 'COMPLETED') return undefined;
  const { desiredCount = 0, runningCount = 0 } = service;
  if (desiredCount === 0)
    throw new Failure(`${started.revision} is deployed with nothing running: the desired count became 0`, {
      next: 'raise the desired count, then deploy again',
    });
  return runningCount >= desiredCount ? (ours.updatedAt ?? new Date()) : undefined;
}

const isRollback = (deployment: Deployment | undefined): boolean =>
  /roll(ing|ed)? ?back/i.test(deployment?.rolloutStateReason ?? '');

function failed(
  service: Service,
  started: Started,
  ours: Deployment,
  primary: Deployment | undefined,
): Failure {
  const said = lastTrouble(service, started);
  const back =
    primary && primary.id !== ours.id && isRollback(primary)
      ? `; ECS goes back to ${shortName(primary.taskDefinition)}`
      : '';
  const why = (ours.rolloutStateReason ?? 'no reason given').replace(/\.$/, '');
  return new Failure(`ECS gave up the deployment ${ours.id} of ${started.revision}: ${why}${back}${said}`);
}

function tooSlow(service: Service, started: Started, waitedMs: number): Failure {
  return new Failure(
    `the deployment ${started.id} of ${started.revision} is not complete after ${duration(waitedMs)}: ${progress(service, started)}${lastTrouble(service, started)}`,
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

/** The newest event of the service since then that is about trouble. */
function lastTrouble(service: Service, { since }: Started): string {
  const event = (service.events ?? []).find(
    ({ message = '', createdAt }) =>
      (createdAt ?? since) >= since && /unable to|unhealthy|failed to launch|was stopped/i.test(message),
  );
  return event ? `; ECS says: ${event.message}` : '';
}

/** What load balancers drain for unless they are told otherwise, in seconds. */
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
  const drains = await Promise.all(
    (service.loadBalancers ?? []).map(({ targetGroupArn }) =>
      targetGroupArn ? drainSeconds(app, targetGroupArn) : 0,
    ),
  );
  const stops = (definition.containerDefinitions ?? []).map(({ stopTimeout }) => stopTimeout ?? STOP_S);
  const desired = service.desiredCount ?? 1;
  const { minimumHealthyPercent: least = 100, maximumPercent: most = 200 } =
    service.deploymentConfiguration ?? {};
  const room = Math.floor((desired * most) / 100) - Math.ceil((desired * least) / 100);
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
    return DRAIN_S; // it may not be read: as much as it is unless it was set
  }
}

export interface Times {
  /** What a new task may take until it is healthy. */
  readonly healthTimeoutMs: number;
  /** For how long nothing of it may end, after it was complete. */
  readonly healthyForMs: number;
  /** How long the whole may take, where it is not derived from the service. */
  readonly waitMs?: number | undefined;
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

const starts = (deployment: Deployment | undefined, revision: string, before?: string): Started => ({
  id: deployment?.id ?? '',
  revision,
  since: deployment?.createdAt ?? new Date(),
  before,
});

/**
 * Has the service run a revision, and follows the deployment that does it by its own id. One that is in progress
 * already, by a run that was cut off or by ECS that went back to it, is followed and not begun anew.
 * @throws Failure as {@link follow} does, and for tasks that end after all were healthy
 */
export async function switchTo(
  app: EcsApp,
  revision: string,
  times: Times,
  note: (text: string) => void,
  announce: (started: Started, service: Service) => void,
): Promise<void> {
  const service = await describeService(app);
  const [primary] = service.deployments ?? [];
  const under = shortName(primary?.taskDefinition) === revision && primary?.rolloutState !== 'FAILED';
  const started = under ? starts(primary, revision) : await begin(app, service, revision);
  announce(started, service);
  const { definition } = await describeRevision(app, revision);
  const timeoutMs =
    times.waitMs ?? (await deploymentTimeout(app, service, definition, times.healthTimeoutMs));
  const complete = await follow(app, started, timeoutMs, note);
  note(`${started.id} is complete`);
  await watch(app, revision, complete, times.healthyForMs);
}

async function begin(app: EcsApp, service: Service, revision: string): Promise<Started> {
  const { UpdateServiceCommand } = await import('@aws-sdk/client-ecs');
  const answer = await tell('ecs:UpdateService', app.service, () =>
    app.client.send(new UpdateServiceCommand(updateInput(service, revision))),
  );
  const primary = answer.service?.deployments?.find(({ status }) => status === 'PRIMARY');
  return starts(primary, revision, service.deployments?.[0]?.id);
}

const WATCH_MS = 1_000;

/** The circuit breaker does not count tasks that end after the deployment is complete: we do, for a while. */
async function watch(app: EcsApp, revision: string, since: Date, forMs: number): Promise<void> {
  const until = Date.now() + forMs;
  for (;;) {
    const [dead] = await deadTasks(app, revision, since);
    if (dead)
      throw new Failure(`a task of ${revision} ended soon after it was healthy: ${dead.stoppedReason}`);
    const left = until - Date.now();
    if (left <= 0) return;
    await sleep(Math.min(WATCH_MS, left), undefined, { signal: app.signal }).catch(() =>
      app.signal.throwIfAborted(),
    );
  }
}
