import { type ElbFaults, type Group, noFaults, type Target, type TargetId } from './elbv2/state.ts';
import { addTarget, find, forgetGroup, groupOf, removeTarget } from './elbv2/targets.ts';
import { AwsError } from './errors.ts';
import { changed } from './faults.ts';
import { queryMoto } from './inside.ts';
import { escapeXml } from './protocol.ts';
import type { Input, Service } from './service.ts';
import type { State } from './state.ts';

/** `Targets.member.1.Id=…`: what the caller named, with the group's port where he named none. */
function named(input: Input, group: Group): TargetId[] {
  const ids = Object.keys(input).filter((name) => /^Targets\.member\.\d+\.Id$/.test(name));
  return ids.map((name) => ({
    id: String(input[name]),
    port: Number(input[name.replace(/Id$/, 'Port')] ?? group.config.port),
  }));
}

const groupNamed = (input: Input, state: State): Promise<Group> =>
  groupOf(state, String(input.TargetGroupArn));

function checkIds(targets: TargetId[], { config }: Group): void {
  const shape = config.type === 'instance' ? /^i-[\da-f]{8,17}$/ : /^\d+\.\d+\.\d+\.\d+$/;
  const wrong = targets.find(({ id }) => !shape.test(id));
  if (!wrong) return;
  const text =
    config.type === 'instance'
      ? `Instance ID '${wrong.id}' is not valid`
      : `The IP address '${wrong.id}' is not a valid IPv4 address`;
  throw new AwsError(config.type === 'instance' ? 'InvalidTarget' : 'ValidationError', text);
}

async function registerTargets(input: Input, state: State): Promise<string> {
  const group = await groupNamed(input, state);
  const targets = named(input, group);
  checkIds(targets, group);
  for (const target of targets) await addTarget(state, group.arn, target);
  return '';
}

async function deregisterTargets(input: Input, state: State): Promise<string> {
  const group = await groupNamed(input, state);
  for (const target of named(input, group)) await removeTarget(state, group.arn, target);
  return '';
}

const notRegistered = (
  target: TargetId,
): Pick<Target, keyof TargetId | 'health' | 'reason' | 'description'> => ({
  ...target,
  health: 'unused',
  reason: 'Target.NotRegistered',
  description: 'Target is not registered to the target group',
});

async function describeTargetHealth(input: Input, state: State): Promise<string> {
  const group = await groupNamed(input, state);
  const wanted = named(input, group);
  const told =
    wanted.length > 0 ? wanted.map((one) => find(group, one) ?? notRegistered(one)) : group.targets;
  const members = told.map(({ id, port, health, reason, description }) => {
    const why = reason
      ? `<Reason>${reason}</Reason><Description>${escapeXml(description)}</Description>`
      : '';
    return `<member><HealthCheckPort>${port}</HealthCheckPort><TargetHealth><State>${health}</State>${why}</TargetHealth>
<Target><Id>${id}</Id><Port>${port}</Port></Target></member>`;
  });
  return `<TargetHealthDescriptions>${members.join('')}</TargetHealthDescriptions>`;
}

/** moto deletes the group, unless a listener forwards to it; its targets are ours to forget. */
async function deleteTargetGroup(input: Input, state: State): Promise<string> {
  const arn = String(input.TargetGroupArn);
  await queryMoto('elasticloadbalancing', {
    Version: '2015-12-01',
    Action: 'DeleteTargetGroup',
    TargetGroupArn: arn,
  });
  forgetGroup(state, arn);
  return '';
}

const resources = ({ TargetGroupArn }: Input): string[] => [String(TargetGroupArn)];

/** Targets and their health; load balancers, listeners and the configuration of target groups are moto's. */
export const elbv2: Service = {
  protocol: 'query',
  xmlns: 'http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/',
  operations: {
    RegisterTargets: { resources, run: registerTargets },
    DeregisterTargets: { resources, run: deregisterTargets },
    DescribeTargetHealth: { run: describeTargetHealth },
    DeleteTargetGroup: { resources, run: deleteTargetGroup },
  },
  control: {
    /** `ports`: where each target group is balanced, in the front's container */
    get: ({ elb }) => ({
      ...elb.faults,
      ports: Object.fromEntries([...elb.groups.values()].map(({ arn, port }) => [arn, port])),
    }),
    set: (change, { elb }) => {
      elb.faults = changed<ElbFaults>(elb.faults, change);
    },
    reset: ({ elb }) => {
      elb.faults = noFaults();
    },
  },
};
