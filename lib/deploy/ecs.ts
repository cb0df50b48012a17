import { setTimeout as sleep } from 'node:timers/promises';
import type { RunTaskCommandInput, Service, Task, TaskDefinition } from '@aws-sdk/client-ecs';
import { Failure } from '../failure.ts';
import { duration } from '../format.ts';
import type { Report } from '../output.ts';
import { type DeployedApp, type DeploymentRecord, type Release, sameImages, who } from './deployment.ts';
import { planOf, planOfRelease } from './ecs-preflight.ts';
import {
  ask,
  describeRevision,
  describeService,
  type EcsApp,
  ecsApp,
  pinsOf,
  recordsOf,
  recordTag,
  releaseTags,
  revisionsOf,
  shortName,
  tag,
  tell,
} from './ecs-service.ts';
import { describeDeaths, describeEnd, switchTo } from './ecs-switch.ts';
import { type DeploySettings, imageText } from './settings.ts';

const POLL_MS = 1_000;

/** One task of a revision, where the service's own run, with another command in the app's container. */
function oneOff(
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
async function runOnce(
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

/** A service of ECS, whose records are tags of its task definition's revisions. */
export async function appOnEcs(
  target: { cluster: string; service: string },
  settings: DeploySettings & { AWS_REGION?: string | undefined },
  signal: AbortSignal,
  report: Pick<Report, 'info' | 'warn'>,
  waitMs?: number,
): Promise<DeployedApp> {
  const app = await ecsApp(target, settings.AWS_REGION, signal);
  const repositories = settings.IMAGE.map(imageText);
  const times = {
    healthTimeoutMs: settings.HEALTH_TIMEOUT * 1000,
    healthyForMs: settings.HEALTHY_FOR * 1000,
    waitMs,
  };
  const familyRevisions = async () => {
    const { taskDefinition = '' } = await describeService(app);
    return revisionsOf(app, shortName(taskDefinition).replace(/:\d+$/, ''));
  };
  const records = async () => recordsOf(await familyRevisions(), repositories);
  return {
    goesOn: true,
    records,
    async unfinished() {
      const [primary] = (await describeService(app)).deployments ?? [];
      if (primary?.rolloutState !== 'IN_PROGRESS') return undefined;
      const { tags } = await describeRevision(app, primary.taskDefinition ?? '');
      const what = tags['opsbook:version'] ?? shortName(primary.taskDefinition);
      return `a deployment of ${what} is in progress: ${primary.id}, begun ${primary.createdAt?.toISOString()} by ${tags['opsbook:by'] ?? 'someone'}`;
    },
    async running() {
      const [primary, ...others] = (await describeService(app)).deployments ?? [];
      if (!primary || others.length > 0 || primary.rolloutState === 'FAILED') return undefined;
      return releaseOf(primary.taskDefinition ?? '');
    },
    preflight: (request) => planOf(app, request, who()),
    async preflightRelease(release) {
      const known =
        release.revision ?? (await records()).findLast((one) => sameImages(one, release))?.revision;
      if (known === undefined)
        throw new Failure(`no revision of the task definition is ${release.version} any more`, {
          next: `deploy it anew: update-deployment ${release.version}`,
        });
      return planOfRelease(app, { ...release, revision: known });
    },
    async migrate(release, command, say) {
      const { definition } = await describeRevision(app, release.revision ?? '');
      const [first = ''] = Object.keys(release.images);
      const container = settings.APP_SERVICE in release.images ? settings.APP_SERVICE : first;
      const input = oneOff(await describeService(app), definition, container, command);
      await runOnce(app, input, container, settings.MIGRATE_TIMEOUT * 1000, say);
    },
    async switchTo(release, step) {
      const abandon: { how?: string[] } = {};
      try {
        await switchTo(app, release.revision ?? '', times, step.note, (started) => {
          step.note(started.id);
          abandon.how = howToGoOn(started.id, release.version);
        });
      } catch (error) {
        if (signal.aborted) for (const line of abandon.how ?? []) report.warn(line);
        throw error;
      }
    },
    postmortem: (release) => describeDeaths(app, release.revision ?? ''),
    async record(record: DeploymentRecord) {
      const { definition, tags } = await describeRevision(app, record.revision ?? '');
      const missing = tags['opsbook:version'] === undefined ? releaseTags(record, record.who) : [];
      await tag(app, definition.taskDefinitionArn ?? '', [...missing, recordTag(record)]);
    },
    // What images are kept is for the repository's lifecycle policy to say.
    prune: async () => 0,
  };

  async function releaseOf(arn: string): Promise<Release> {
    const { definition, tags } = await describeRevision(app, arn);
    const revision = shortName(arn);
    const commit = tags['opsbook:commit'];
    return {
      version: tags['opsbook:version'] ?? revision,
      ...(commit === undefined ? {} : { commit }),
      images: pinsOf(definition, repositories),
      revision,
    };
  }

  /** A deployment goes on in ECS when nobody follows it any more. */
  function howToGoOn(id: string, version: string): string[] {
    const { cluster, service } = target;
    return [
      `${id} goes on in ECS without us. To follow it again: update-deployment ${version}`,
      `To end it and go back: rollback, or: aws ecs stop-service-deployment --stop-type ROLLBACK --service-deployment-arn $(aws ecs list-service-deployments --cluster ${cluster} --service ${service} --status IN_PROGRESS --query 'serviceDeployments[0].serviceDeploymentArn' --output text)`,
    ];
  }
}
