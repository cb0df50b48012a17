import type { Deployment, ServiceDeploymentBrief } from '@aws-sdk/client-ecs';
import { Failure } from '../../failure.ts';
import { Superseded } from '../strategy.ts';
import { ask, describeRevision, type EcsApp, shortName } from './calls.ts';
import type { Started } from './follow.ts';

const SLACK_MS = 1_000;

/**
 * What became of a deployment that is not in front any more: ECS went back by itself, or somebody deployed something
 * else. Where ECS's own record of it may not be read, what is in front now has to tell.
 * @param trouble the service's last event about trouble, if there is one
 */
export async function whatBecame(
  app: EcsApp,
  started: Started,
  primary: Deployment | undefined,
  trouble: string,
): Promise<Failure> {
  const other = shortName(primary?.taskDefinition);
  const ended = `the deployment ${started.id} of ${started.revision}`;
  if (!primary) return new Failure(`${ended} is gone, and the service has no other`);
  const status = (await recordOf(app, started))?.status;
  const rolledBack = status
    ? status.startsWith('ROLLBACK')
    : /roll(ing|ed)? ?back/i.test(primary.rolloutStateReason ?? '');
  if (rolledBack) return new Failure(`ECS rolled ${ended} back to ${other}${trouble}`);
  const { tags } = await describeRevision(app, primary.taskDefinition ?? '');
  const what = tags['opsbook:version'] ? `${tags['opsbook:version']} (${other})` : other;
  return new Superseded(`${ended} was superseded by ${primary.id} of ${what}`, {
    next: 'agree with whoever deploys there; list-deployments shows what runs',
  });
}

/** ECS's record of a service deployment, which stays when the deployment is gone; a rollback is a part of it. */
async function recordOf(app: EcsApp, { since }: Started): Promise<ServiceDeploymentBrief | undefined> {
  const { ListServiceDeploymentsCommand } = await import('@aws-sdk/client-ecs');
  const { cluster, service } = app;
  const createdAt = { after: new Date(since.getTime() - SLACK_MS) };
  try {
    const { serviceDeployments = [] } = await ask(app, 'ecs:ListServiceDeployments', service, (options) =>
      app.client.send(new ListServiceDeploymentsCommand({ cluster, service, createdAt }), options),
    );
    const began = ({ createdAt: at }: ServiceDeploymentBrief) => at?.getTime() ?? 0;
    return serviceDeployments.sort((a, b) => began(a) - began(b))[0];
  } catch {
    app.signal.throwIfAborted();
    return undefined; // it may not be read, or ECS is older than these records
  }
}
