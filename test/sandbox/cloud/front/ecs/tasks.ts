import type {
  DescribeTasksCommandInput,
  ListTasksCommandInput,
  StopTaskCommandInput,
} from '@aws-sdk/client-ecs';
import { AwsError } from '../errors.ts';
import type { Operation } from '../service.ts';
import type { State } from '../state.ts';
import { revisionOf } from './definitions.ts';
import { clusterName, shortName, wire } from './names.ts';
import { live } from './run.ts';
import type { RunInput, Task } from './state.ts';
import { newTask, order } from './task.ts';

const inCluster = (state: State, cluster: string | undefined): Task[] => {
  const name = clusterName(state, cluster);
  return [...state.ecs.tasks.values()].filter(({ json }) => shortName(json.clusterArn ?? '') === name);
};

export const listTasks: Operation = {
  run(input: ListTasksCommandInput, state) {
    const { cluster, serviceName, family, startedBy, desiredStatus = 'RUNNING' } = input;
    const taskArns = inCluster(state, cluster)
      .filter(({ json }) => json.desiredStatus === desiredStatus)
      .filter(({ service }) => !serviceName || service?.name === shortName(serviceName))
      .filter(({ json }) => !startedBy || json.startedBy === startedBy)
      .filter(({ revision }) => !family || revision.json.family === family)
      .map(({ json }) => json.taskArn);
    return { taskArns: taskArns.slice(-100) };
  },
};

export const describeTasks: Operation = {
  run({ cluster, tasks = [] }: DescribeTasksCommandInput, state) {
    if (tasks.length === 0 || tasks.length > 100)
      throw new AwsError('InvalidParameterException', 'Tasks must have between 1 and 100 members.');
    const all = inCluster(state, cluster);
    const found = tasks.flatMap((name) => all.find(({ id }) => id === shortName(name)) ?? []);
    const failures = tasks
      .filter((name) => !all.some(({ id }) => id === shortName(name)))
      .map((arn) => ({ arn, reason: 'MISSING' }));
    return wire({ tasks: found.map(({ json }) => json), failures });
  },
};

export const runTask: Operation = {
  run(input: RunInput, state) {
    const cluster = clusterName(state, input.cluster);
    const revision = revisionOf(state, input.taskDefinition);
    const count = input.count ?? 1;
    if (state.ecs.faults.noCapacity)
      return {
        tasks: [],
        failures: [
          {
            reason:
              'Capacity is unavailable at this time. Please try again later or in a different availability zone',
          },
        ],
      };
    if (revision.json.networkMode === 'awsvpc' && !input.networkConfiguration)
      throw new AwsError(
        'InvalidParameterException',
        "Network Configuration must be provided when networkMode 'awsvpc' is specified.",
      );
    const names = (revision.json.containerDefinitions ?? []).map(({ name }) => name);
    const unknown = input.overrides?.containerOverrides?.find(({ name }) => !names.includes(name));
    if (unknown)
      throw new AwsError(
        'InvalidParameterException',
        `Override for container named ${unknown.name} is not a container in the TaskDefinition.`,
      );
    const started = Array.from({ length: count }, () =>
      newTask(state, {
        ...{ cluster, revision, overrides: input.overrides, startedBy: input.startedBy, tags: input.tags },
        group: input.group ?? `family:${revision.json.family}`,
      }),
    );
    for (const task of started) void live(task, state);
    return wire({ tasks: started.map(({ json }) => json), failures: [] });
  },
};

export const stopTask: Operation = {
  run({ cluster, task: name = '', reason }: StopTaskCommandInput, state) {
    const task = inCluster(state, cluster).find(({ id }) => id === shortName(name));
    if (!task) throw new AwsError('InvalidParameterException', 'The referenced task was not found.');
    order(task, { reason: reason ?? 'Task stopped by user', code: 'UserInitiated' });
    return wire({ task: task.json });
  },
};
