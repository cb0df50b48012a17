import { setTimeout as sleep } from 'node:timers/promises';
import type { RunTaskCommandInput, Service, Task, TaskDefinition } from '@aws-sdk/client-ecs';
import { Failure } from '../../failure.ts';
import { duration } from '../../format.ts';
import { ask, type EcsApp, shortName, tell } from './calls.ts';
import { describeEnd } from './evidence.ts';

const POLL_MS = 1_000;

/** One task of a revision, where the service's own run, with another command in the app's container. */
export function oneOff(
  service: Service,
  definition: TaskDefinition,
  container: string,
  command: string,
): RunTaskCommandInput {
  const { clusterArn, networkConfiguration, capacityProviderStrategy, launchType, platformVersion } = service;
  return {
    cluster: clusterArn,
    taskDefinition: definition.taskDefinitionArn,
    networkConfiguration,
    // Either of them, never both.
    ...(capacityProviderStrategy?.length ? { capacityProviderStrategy } : { launchType, platformVersion }),
    startedBy: 'opsbook-migrate',
    overrides: { containerOverrides: [{ name: container, command: ['sh', '-c', command] }] },
  };
}

/**
 * Runs it to its end, and says what it wrote last. An interruption stops it.
 * @throws Failure with its exit code, or why it did not run
 */
export async function runOnce(
  app: EcsApp,
  input: RunTaskCommandInput,
  container: string,
  timeoutMs: number,
  say: (line: string) => void,
): Promise<void> {
  const { RunTaskCommand } = await import('@aws-sdk/client-ecs');
  const what = shortName(input.taskDefinition);
  const { tasks: [started] = [], failures = [] } = await tell('ecs:RunTask', what, () =>
    app.client.send(new RunTaskCommand(input)),
  );
  if (!started?.taskArn)
    throw new Failure(`the migration's task cannot be placed: ${failures[0]?.reason ?? 'no reason given'}`, {
      next: 'nothing was changed: run it again',
    });
  const ended = await untilStopped(app, started.taskArn, timeoutMs);
  for (const line of await describeEnd(app, ended)) say(line);
  const exitCode = ended.containers?.find(({ name }) => name === container)?.exitCode;
  if (exitCode === 0) return;
  const how = exitCode === undefined ? `did not run: ${ended.stoppedReason}` : `exited with ${exitCode}`;
  throw new Failure(`the migration ${how}`, {
    next: 'the old version runs on; look at the database, mend the migration, deploy again',
  });
}

async function untilStopped(app: EcsApp, arn: string, timeoutMs: number): Promise<Task> {
  const begun = Date.now();
  const { DescribeTasksCommand } = await import('@aws-sdk/client-ecs');
  const input = { cluster: app.cluster, tasks: [arn] };
  try {
    for (;;) {
      const { tasks: [task] = [] } = await ask(app, 'ecs:DescribeTasks', arn, (options) =>
        app.client.send(new DescribeTasksCommand(input), options),
      );
      if (task?.lastStatus === 'STOPPED') return task;
      if (Date.now() - begun > timeoutMs) throw await hangs(app, arn, timeoutMs);
      await sleep(POLL_MS, undefined, { signal: app.signal }).catch(() => app.signal.throwIfAborted());
    }
  } catch (error) {
    if (app.signal.aborted) await stop(app, arn);
    throw error;
  }
}

async function hangs(app: EcsApp, arn: string, timeoutMs: number): Promise<Failure> {
  await stop(app, arn);
  return new Failure(`the migration did not end in ${duration(timeoutMs)}, and was stopped`, {
    next: 'the old version runs on; look at the database, or give it longer: MIGRATE_TIMEOUT',
  });
}

async function stop(app: EcsApp, task: string): Promise<void> {
  const { StopTaskCommand } = await import('@aws-sdk/client-ecs');
  const input = { cluster: app.cluster, task, reason: 'ended by opsbook' };
  await tell('ecs:StopTask', task, () => app.client.send(new StopTaskCommand(input)));
}
