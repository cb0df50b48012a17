import { queryMoto } from '../inside.ts';
import type { GroupConfig } from './state.ts';

const text = (xml: string, name: string): string =>
  new RegExp(`<${name}>([^<]*)</${name}>`).exec(xml)?.[1] ?? '';

function attribute(xml: string, name: string): string {
  const member = xml.split('<member>').find((one) => text(one, 'Key') === name);
  return member ? text(member, 'Value') : '';
}

/**
 * A target group's configuration as it is now: moto keeps it, and checks what is written into it.
 * @throws AwsError when there is no such group
 */
export async function readConfig(arn: string): Promise<GroupConfig> {
  const version = { Version: '2015-12-01' };
  const [group, attributes] = await Promise.all([
    queryMoto('elasticloadbalancing', {
      ...version,
      Action: 'DescribeTargetGroups',
      'TargetGroupArns.member.1': arn,
    }),
    queryMoto('elasticloadbalancing', {
      ...version,
      Action: 'DescribeTargetGroupAttributes',
      TargetGroupArn: arn,
    }),
  ]);
  return {
    protocol: text(group, 'Protocol'),
    port: Number(text(group, 'Port')),
    type: text(group, 'TargetType') || 'instance',
    used: /<LoadBalancerArns>\s*<member>/.test(group),
    check: {
      path: text(group, 'HealthCheckPath') || '/',
      port: text(group, 'HealthCheckPort') || 'traffic-port',
      intervalS: Number(text(group, 'HealthCheckIntervalSeconds')) || 30,
      timeoutS: Number(text(group, 'HealthCheckTimeoutSeconds')) || 5,
      healthy: Number(text(group, 'HealthyThresholdCount')) || 5,
      unhealthy: Number(text(group, 'UnhealthyThresholdCount')) || 2,
      matcher: text(group, 'HttpCode') || '200',
    },
    drain: Number(attribute(attributes, 'deregistration_delay.timeout_seconds') || 300),
  };
}
