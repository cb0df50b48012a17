import { Failure } from '../../failure.ts';
import type { Report } from '../../report.ts';
import { imageText } from '../image-reference.ts';
import { type DeploymentRecord, sameImages } from '../record.ts';
import type { DeploySettings } from '../settings.ts';
import type { Release, Strategy } from '../strategy.ts';
import { who } from '../take-back.ts';
import { describeRevision, describeService, ecsApp, shortName } from './calls.ts';
import { describeDeaths } from './evidence.ts';
import { oneOff, runOnce } from './migrate.ts';
import { prospectOf, prospectOfReturn } from './prospect.ts';
import { pinsOf, recordsOf, revisionsOf, tag } from './revisions.ts';
import { switchTo } from './switch.ts';
import { recordTag, releaseTags } from './tags.ts';

/** A service of ECS, whose records are tags of its task definition's revisions. */
export async function ecsStrategy(
  target: { cluster: string; service: string },
  settings: DeploySettings & { AWS_REGION?: string | undefined },
  signal: AbortSignal,
  report: Pick<Report, 'info' | 'warn'>,
  waitMs?: number,
): Promise<Strategy> {
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
    preflight: (wanted) => prospectOf(app, wanted, who()),
    async preflightReturn(release) {
      const known =
        release.revision ?? (await records()).findLast((one) => sameImages(one, release))?.revision;
      if (known === undefined)
        throw new Failure(`no revision of the task definition is ${release.version} any more`, {
          next: `deploy it anew: update-deployment ${release.version}`,
        });
      return prospectOfReturn(app, { ...release, revision: known });
    },
    async migrate(release, command, say) {
      const { definition } = await describeRevision(app, release.revision ?? '');
      const [first = ''] = Object.keys(release.images);
      const container = settings.APP_SERVICE in release.images ? settings.APP_SERVICE : first;
      const input = oneOff(await describeService(app), definition, container, command);
      await runOnce(app, input, container, settings.MIGRATE_TIMEOUT * 1000, say);
    },
    async switchTo(release, _who, step) {
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
