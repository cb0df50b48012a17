import { setTimeout as sleep } from 'node:timers/promises';
import type { Deployment, Service, UpdateServiceCommandInput } from '@aws-sdk/client-ecs';
import { Failure } from '../../failure.ts';
import { describeRevision, describeService, type EcsApp, shortName, tell } from './calls.ts';
import { deadTasks } from './evidence.ts';
import { follow, type Started } from './follow.ts';
import { deploymentTimeout } from './patience.ts';

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
