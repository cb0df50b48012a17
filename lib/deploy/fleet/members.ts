import type { TargetDescription, TargetHealthDescription } from '@aws-sdk/client-elastic-load-balancing-v2';
import { Failure, Problems } from '../../failure.ts';
import type { Host } from '../../host.ts';
import type { Strategy } from '../strategy.ts';

/** One host of a fleet: what runs on it, and where the load balancer sends its requests. */
export interface Member {
  host: Host;
  strategy: Strategy;
  target: TargetDescription;
}

/** The id by which a target group knows a host. */
export function instanceOf({ target, name }: Host): string {
  const id = /^ssm:\/\/(.+)$/.exec(target)?.[1];
  if (id !== undefined) return id;
  throw new Failure(`${name} is no EC2 instance that SSM reaches, and TARGET_GROUP_ARN has only such`, {
    next: 'name the fleet as ssm://tag:Name=… or ssm://i-…',
  });
}

/**
 * The port on which a host is a target. One that an earlier run took out and did not put back is not in the group any
 * more: it gets the port of the others.
 * @throws Failure when there is nothing to go by
 */
export function targetOf(host: Host, targets: readonly TargetHealthDescription[]): TargetDescription {
  const Id = instanceOf(host);
  const own = targets.find(({ Target }) => Target?.Id === Id)?.Target;
  const Port = own?.Port ?? targets.find(({ Target }) => Target?.Port !== undefined)?.Target?.Port;
  if (Port === undefined)
    throw new Failure(`${host.name} is not in the target group, and no other host tells the port`, {
      next: 'register it: aws elbv2 register-targets',
    });
  return { Id, Port };
}

/**
 * Refuses what would leave nobody to answer: while one host is out, another has to be healthy.
 * @throws Problems with each host that is not healthy; Failure for a fleet of one
 */
export function refuseLastHealthy(
  members: ReadonlyArray<Pick<Member, 'host' | 'target'>>,
  targets: readonly TargetHealthDescription[],
): void {
  const stateOf = (id: string | undefined) => targets.find(({ Target }) => Target?.Id === id)?.TargetHealth;
  const healthy = targets.filter(({ TargetHealth }) => TargetHealth?.State === 'healthy');
  if (
    healthy.length >= 2 ||
    healthy.some(({ Target }) => !members.some(({ target }) => target.Id === Target?.Id))
  )
    return;
  const ill = members
    .map(({ host, target }) => ({ host, health: stateOf(target.Id) }))
    .filter(({ health }) => health?.State !== 'healthy')
    .map(
      ({ host, health }) =>
        new Failure(
          `${host.name} is ${health?.State ?? 'not in the target group'}${health?.Description ? ` (${health.Description})` : ''}`,
          { next: 'make it healthy first: remote status, remote logs' },
        ),
    );
  throw new Problems([
    new Failure(
      healthy.length === 0
        ? 'no host is healthy for the load balancer: there is nobody to answer while hosts change'
        : `only ${healthy[0]?.Target?.Id} is healthy for the load balancer: taking it out would leave nobody to answer`,
      { next: 'have two healthy hosts, or deploy to each by itself without TARGET_GROUP_ARN' },
    ),
    ...ill,
  ]);
}
