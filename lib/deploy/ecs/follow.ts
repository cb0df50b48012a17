import { setTimeout as sleep } from 'node:timers/promises';
import type { Deployment, Service } from '@aws-sdk/client-ecs';
import { Failure } from '../../failure.ts';
import { duration } from '../../format.ts';
import { describeService, type EcsApp, shortName } from './calls.ts';
import { whatBecame } from './outcome.ts';

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
export async function follow(
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
