import type { RunTaskCommandInput, Task } from '@aws-sdk/client-ecs';
import { logsClient } from '../aws.ts';
import { Failure } from '../failure.ts';
import { duration } from '../format.ts';
import { redact } from '../secret.ts';
import {
  ask,
  describeRevision,
  describeService,
  type EcsApp,
  pause,
  send,
  shortName,
} from './ecs-service.ts';

const POLL_MS = 1_000;

/**
 * Runs a command to its end in one task of a revision, where the service's own tasks run, and says what it wrote last.
 * An interruption stops it.
 * @throws Failure with its exit code, or why it did not run
 */
export async function runOnce(
  app: EcsApp,
  { revision, container, command }: { revision: string; container: string; command: string },
  timeoutMs: number,
  print: (line: string) => void,
): Promise<void> {
  const service = await describeService(app);
  const { networkConfiguration, capacityProviderStrategy, launchType, platformVersion } = service;
  const input: RunTaskCommandInput = {
    cluster: service.clusterArn,
    taskDefinition: revision,
    networkConfiguration,
    // Either of them, never both.
    ...(capacityProviderStrategy?.length ? { capacityProviderStrategy } : { launchType, platformVersion }),
    startedBy: 'opsbook-migrate',
    overrides: { containerOverrides: [{ name: container, command: ['sh', '-c', command] }] },
  };
  const { tasks: [started] = [], failures = [] } = await send('ecs:RunTask', revision, () =>
    app.ecs.runTask(input),
  );
  if (!started?.taskArn)
    throw new Failure(`the migration's task cannot be placed: ${failures[0]?.reason ?? 'no reason given'}`, {
      next: 'nothing was changed: run it again',
    });
  const ended = await untilStopped(app, started.taskArn, timeoutMs);
  for (const line of await describeEnd(app, ended)) print(line);
  const exitCode = ended.containers?.find(({ name }) => name === container)?.exitCode;
  if (exitCode === 0) return;
  const how = exitCode === undefined ? `did not run: ${ended.stoppedReason}` : `exited with ${exitCode}`;
  throw new Failure(`the migration ${how}`, {
    next: 'the old version still runs; check the database, fix the migration, deploy again',
  });
}

async function untilStopped(app: EcsApp, task: string, timeoutMs: number): Promise<Task> {
  const begun = Date.now();
  const { cluster, ecs } = app;
  const stop = () =>
    send('ecs:StopTask', task, () => ecs.stopTask({ cluster, task, reason: 'ended by opsbook' }));
  try {
    for (; ; await pause(app, POLL_MS)) {
      const { tasks: [found] = [] } = await ask(app, 'ecs:DescribeTasks', task, (options) =>
        ecs.describeTasks({ cluster, tasks: [task] }, options),
      );
      if (found?.lastStatus === 'STOPPED') return found;
      if (Date.now() - begun > timeoutMs) break;
    }
  } catch (error) {
    if (app.signal.aborted) await stop();
    throw error;
  }
  await stop();
  throw new Failure(`the migration did not end in ${duration(timeoutMs)}, and was stopped`, {
    next: 'the old version still runs; check the database, or give it longer: MIGRATE_TIMEOUT',
  });
}

/** Tasks whose end is described in full: the others ended as they did. */
const DESCRIBED = 2;
const LINES = 10;

/** Tasks of a revision that have ended by themselves, the last one first. */
export async function deadTasks(app: EcsApp, revision: string, since?: Date): Promise<Task[]> {
  const { cluster, service: serviceName, ecs } = app;
  const { taskArns = [] } = await ask(app, 'ecs:ListTasks', serviceName, (options) =>
    ecs.listTasks({ cluster, serviceName, desiredStatus: 'STOPPED' }, options),
  );
  if (taskArns.length === 0) return [];
  const { tasks = [] } = await ask(app, 'ecs:DescribeTasks', serviceName, (options) =>
    ecs.describeTasks({ cluster, tasks: taskArns }, options),
  );
  const began = (task: Task) => task.createdAt?.getTime() ?? 0;
  return tasks
    .filter((task) => shortName(task.taskDefinitionArn) === revision)
    .filter((task) => !/^Scaling activity/.test(task.stoppedReason ?? ''))
    .filter((task) => !since || (task.stoppingAt ?? task.createdAt ?? since) >= since)
    .sort((a, b) => began(b) - began(a));
}

/** How a task ended: its reason, its containers' exit codes, and the last lines of each. */
async function describeEnd(app: EcsApp, task: Task): Promise<string[]> {
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
  const ends = await Promise.all(dead.slice(0, DESCRIBED).map((task) => describeEnd(app, task)));
  const more = dead.length - DESCRIBED;
  return more > 0 ? [...ends.flat(), `${more} more tasks ended before`] : ends.flat();
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
