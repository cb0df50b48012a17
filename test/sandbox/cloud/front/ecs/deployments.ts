import type { ServiceDeployment, ServiceDeploymentStatus } from '@aws-sdk/client-ecs';
import type { State } from '../state.ts';
import { arn, deploymentId, newId } from './names.ts';
import type { Deployment, Revision, Service } from './state.ts';
import { isLive } from './task.ts';

export const say = (service: Service, text: string): void => {
  const message = `(service ${service.name}) ${text}`;
  service.events.unshift({ id: newId(), createdAt: new Date(), message });
  service.events.length = Math.min(service.events.length, 100);
};

const ENDED: (ServiceDeploymentStatus | undefined)[] = [
  ...(['SUCCESSFUL', 'STOPPED', 'ROLLBACK_SUCCESSFUL', 'ROLLBACK_FAILED'] as const),
];
export const isOpen = ({ status }: ServiceDeployment): boolean => !ENDED.includes(status);

/** Moves what DescribeServiceDeployments tells of a deployment on. */
export function mark(record: ServiceDeployment, status: ServiceDeploymentStatus, reason?: string): void {
  const now = new Date();
  Object.assign(record, { status, updatedAt: now, ...(reason ? { statusReason: reason } : {}) });
  if (!isOpen(record)) record.finishedAt = now;
  if (record.deploymentCircuitBreaker?.status === 'MONITORING' && !isOpen(record))
    record.deploymentCircuitBreaker.status = 'MONITORING_COMPLETE';
}

/** Tasks that have to fail before the circuit breaker opens: half of the desired ones, from 3 to 200. */
const threshold = ({ desired }: Service): number => Math.max(3, Math.min(200, Math.ceil(desired / 2)));

const breakerOf = ({ input }: Service) => input.deploymentConfiguration?.deploymentCircuitBreaker;
const breaks = (service: Service): boolean => breakerOf(service)?.enable ?? false;
const rollsBack = (service: Service): boolean => breakerOf(service)?.rollback ?? false;

function newRecord(service: Service, revision: Revision, state: State): ServiceDeployment {
  const now = new Date();
  const revisionArn = arn(state, `service-revision/${service.cluster}/${service.name}/${newId()}`);
  state.ecs.revisions.set(revisionArn, { service, revision });
  return {
    serviceDeploymentArn: arn(state, `service-deployment/${service.cluster}/${service.name}/${newId()}`),
    serviceArn: service.arn,
    clusterArn: arn(state, `cluster/${service.cluster}`),
    createdAt: now,
    startedAt: now,
    updatedAt: now,
    status: 'IN_PROGRESS',
    targetServiceRevision: { arn: revisionArn },
    deploymentConfiguration: service.input.deploymentConfiguration,
    deploymentCircuitBreaker: {
      status: breaks(service) ? 'MONITORING' : 'DISABLED',
      failureCount: 0,
      threshold: threshold(service),
    },
  };
}

/** Puts a new deployment in front; those that were not done are superseded. */
export function deploy(
  service: Service,
  revision: Revision,
  state: State,
  { reason, record }: { reason?: string; record?: ServiceDeployment } = {},
): Deployment {
  const now = new Date();
  const deployment: Deployment = {
    ...{
      id: deploymentId(),
      status: 'PRIMARY',
      revision,
      rollout: 'IN_PROGRESS',
      created: now,
      updated: now,
    },
    reason: reason ?? '',
    record: record ?? newRecord(service, revision, state),
    ...{ failed: 0, proven: false, notBefore: 0, tasks: [] },
  };
  if (!reason) deployment.reason = `ECS deployment ${deployment.id} in progress.`;
  for (const old of service.deployments) {
    old.status = 'ACTIVE';
    if (old.record !== deployment.record && isOpen(old.record))
      mark(old.record, 'STOPPED', 'Service deployment was superseded by a newer one.');
  }
  service.deployments.unshift(deployment);
  if (!record) service.records.unshift(deployment.record);
  return deployment;
}

/**
 * Goes back to what completed last: tasks of it that still run are kept. Without such a deployment nothing can be
 * gone back to.
 */
export function rollBack(service: Service, failed: Deployment, state: State, by: string): void {
  const { completed } = service;
  if (!completed) {
    mark(failed.record, 'ROLLBACK_FAILED', 'No rollback candidate was found.');
    return;
  }
  mark(failed.record, 'ROLLBACK_IN_PROGRESS', by);
  failed.record.rollback = {
    reason: by,
    startedAt: new Date(),
    serviceRevisionArn: failed.record.targetServiceRevision?.arn,
  };
  const reason = `${by}: rolling back to deploymentId ${completed.id}.`;
  const back = deploy(service, completed.revision, state, { reason, record: failed.record });
  for (const old of service.deployments.slice(1))
    if (old.id === completed.id) {
      back.tasks = old.tasks.filter(isLive);
      for (const task of back.tasks) task.deployment = back;
      old.tasks = old.tasks.filter((task) => !isLive(task));
    }
  say(service, `rolling back to deployment ${completed.id}.`);
}

/** One of its tasks ended by itself: it is counted until one is healthy, and may be one too many. */
export function countFailure(service: Service, deployment: Deployment, state: State): void {
  if (deployment.rollout !== 'IN_PROGRESS' || deployment.proven) return;
  deployment.failed += 1;
  deployment.updated = new Date();
  deployment.notBefore = Date.now() + state.ecs.faults.retryMs;
  const { record } = deployment;
  if (record.deploymentCircuitBreaker) record.deploymentCircuitBreaker.failureCount = deployment.failed;
  if (!breaks(service) || deployment.failed < threshold(service)) return;
  const by = 'ECS deployment circuit breaker';
  deployment.rollout = 'FAILED';
  deployment.reason = `${by}: tasks failed to start.`;
  if (record.deploymentCircuitBreaker) record.deploymentCircuitBreaker.status = 'TRIGGERED';
  say(service, `(deployment ${deployment.id}) deployment failed: tasks failed to start.`);
  const isPrimary = service.deployments[0] === deployment;
  if (isPrimary && rollsBack(service) && record.rollback === undefined)
    rollBack(service, deployment, state, by);
  else mark(record, record.rollback ? 'ROLLBACK_FAILED' : 'STOPPED', deployment.reason);
}

/** All that it is to be runs, and nothing else of its service does. */
export function complete(service: Service, deployment: Deployment): void {
  deployment.rollout = 'COMPLETED';
  deployment.reason = `ECS deployment ${deployment.id} completed.`;
  deployment.updated = new Date();
  service.completed = { revision: deployment.revision, id: deployment.id };
  say(service, `(deployment ${deployment.id}) deployment completed.`);
  mark(deployment.record, deployment.record.rollback ? 'ROLLBACK_SUCCESSFUL' : 'SUCCESSFUL');
}
