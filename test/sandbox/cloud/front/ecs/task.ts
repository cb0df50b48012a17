import type { ContainerDefinition, Tag } from '@aws-sdk/client-ecs';
import type { State } from '../state.ts';
import { arn, newId } from './names.ts';
import type { Deployment, Revision, RunInput, Service, StopOrder, Task } from './state.ts';

interface Origin {
  cluster: string;
  revision: Revision;
  group: string;
  startedBy?: string | undefined;
  overrides?: RunInput['overrides'];
  tags?: Tag[] | undefined;
  service?: Service;
  deployment?: Deployment;
}

/** A task that is about to be placed. */
export function newTask(state: State, origin: Origin): Task {
  const { cluster, revision, overrides, service, deployment } = origin;
  const id = newId();
  const taskArn = arn(state, `task/${cluster}/${id}`);
  const task: Task = {
    id,
    json: {
      taskArn,
      clusterArn: arn(state, `cluster/${cluster}`),
      taskDefinitionArn: revision.json.taskDefinitionArn!,
      group: origin.group,
      ...(origin.startedBy ? { startedBy: origin.startedBy } : {}),
      ...(origin.tags ? { tags: origin.tags } : {}),
      launchType: 'FARGATE',
      desiredStatus: 'RUNNING',
      lastStatus: 'PROVISIONING',
      healthStatus: 'UNKNOWN',
      createdAt: new Date(),
      containers: (revision.json.containerDefinitions ?? []).map((one) => ({
        containerArn: arn(state, `container/${cluster}/${id}/${newId()}`),
        taskArn,
        name: one.name ?? '',
        image: one.image ?? '',
        lastStatus: 'PENDING',
        healthStatus: 'UNKNOWN',
      })),
    },
    revision,
    overrides,
    ...(service ? { service } : {}),
    ...(deployment ? { deployment } : {}),
    stop: new AbortController(),
    wasHealthy: false,
  };
  state.ecs.tasks.set(id, task);
  return task;
}

export const definitionsOf = (task: Task): ContainerDefinition[] =>
  task.revision.json.containerDefinitions ?? [];

/** Has it end; the first order stands. */
export function order(task: Task, given: StopOrder): void {
  if (task.order || task.json.lastStatus === 'STOPPED') return;
  task.order = given;
  task.json.desiredStatus = 'STOPPED';
  task.json.stoppingAt = new Date();
  task.stop.abort();
}

/** It counts for its service: it is not ending. */
export const isLive = (task: Task): boolean => !task.order && task.json.lastStatus !== 'STOPPED';
