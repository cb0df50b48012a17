import type { Task } from '@aws-sdk/client-ecs';
import { logsClient } from '../../aws.ts';
import { redact } from '../../redact.ts';
import { ask, describeRevision, type EcsApp, shortName } from './calls.ts';

/** Tasks whose end is told whole: the others ended as they did. */
const TOLD = 2;
const LINES = 10;

/** Tasks of a revision that have ended by themselves, the last one first. */
export async function deadTasks(app: EcsApp, revision: string, since?: Date): Promise<Task[]> {
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
