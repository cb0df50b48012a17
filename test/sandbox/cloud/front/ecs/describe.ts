import type { Deployment as DeploymentJson, Service as ServiceJson } from '@aws-sdk/client-ecs';
import type { State } from '../state.ts';
import { arn } from './names.ts';
import type { Deployment, Service, Task } from './state.ts';
import { isLive } from './task.ts';

const isRunning = (task: Task): boolean => isLive(task) && task.json.lastStatus === 'RUNNING';
const isPending = (task: Task): boolean => isLive(task) && task.json.lastStatus !== 'RUNNING';
const count = (tasks: Task[], is: (task: Task) => boolean): number => tasks.filter(is).length;

function deploymentJson(deployment: Deployment, service: Service): DeploymentJson {
  const { id, status, revision, created, updated, tasks, failed, rollout, reason } = deployment;
  return {
    id,
    status,
    taskDefinition: revision.json.taskDefinitionArn,
    desiredCount: status === 'PRIMARY' ? service.desired : 0,
    pendingCount: count(tasks, isPending),
    runningCount: count(tasks, isRunning),
    failedTasks: failed,
    createdAt: created,
    updatedAt: updated,
    launchType: service.input.launchType ?? 'FARGATE',
    networkConfiguration: service.input.networkConfiguration,
    rolloutState: rollout,
    rolloutStateReason: reason,
  };
}

/** A service as DescribeServices tells of it. */
export function serviceJson(service: Service, state: State): ServiceJson {
  const { input, deployments } = service;
  const tasks = deployments.flatMap((one) => one.tasks);
  const open = service.records.find(({ status }) => /IN_PROGRESS|PENDING|REQUESTED/.test(status ?? ''));
  return {
    serviceArn: service.arn,
    serviceName: service.name,
    clusterArn: arn(state, `cluster/${service.cluster}`),
    status: service.status,
    desiredCount: service.desired,
    runningCount: count(tasks, isRunning),
    pendingCount: count(tasks, isPending),
    launchType: input.launchType ?? 'FARGATE',
    platformVersion: 'LATEST',
    platformFamily: 'Linux',
    taskDefinition: deployments[0]?.revision.json.taskDefinitionArn,
    loadBalancers: input.loadBalancers ?? [],
    deploymentConfiguration: input.deploymentConfiguration,
    deploymentController: input.deploymentController ?? { type: 'ECS' },
    deployments: deployments.map((one) => deploymentJson(one, service)),
    events: service.events,
    createdAt: service.created,
    ...(open ? { currentServiceDeployment: open.serviceDeploymentArn } : {}),
    networkConfiguration: input.networkConfiguration,
    healthCheckGracePeriodSeconds: input.healthCheckGracePeriodSeconds ?? 0,
    schedulingStrategy: 'REPLICA',
    propagateTags: input.propagateTags ?? 'NONE',
  };
}
