import {
  CreateListenerCommand,
  CreateLoadBalancerCommand,
  CreateTargetGroupCommand,
  DeleteLoadBalancerCommand,
  DeleteTargetGroupCommand,
  DescribeLoadBalancersCommand,
  DescribeTargetGroupsCommand,
  DescribeTargetHealthCommand,
  ElasticLoadBalancingV2Client,
  ModifyTargetGroupAttributesCommand,
} from '@aws-sdk/client-elastic-load-balancing-v2';
import { publishedPort } from '../sandbox/machine/docker.ts';
import { containerName } from '../sandbox/names.ts';
import { world } from '../sandbox/world.ts';

/** A load balancer of the sandbox's, and where it listens on this machine. */
export interface Balancer {
  arn: string;
  url: string;
}

/** A client of the sandbox's load balancers, as one who may do all. */
export const elbClient = async () => {
  const { aws } = await world();
  return new ElasticLoadBalancingV2Client({
    ...{ endpoint: aws.url, region: 'eu-north-1', credentials: aws.users.admin! },
  });
};

/** Balances over a target group of its own, whose health check and draining make up their minds quickly. */
export async function balancer(
  name: string,
  type: 'ip' | 'instance',
  vpc: string,
  subnets: string[],
): Promise<Balancer> {
  const { aws, engine } = await world();
  const elb = await elbClient();
  const health = { HealthCheckPath: '/health', HealthCheckIntervalSeconds: 5, UnhealthyThresholdCount: 2 };
  const { TargetGroups } = await elb.send(
    new CreateTargetGroupCommand({
      ...{ Name: name, Protocol: 'HTTP', Port: 8000, TargetType: type, VpcId: vpc, ...health },
    }),
  );
  const arn = TargetGroups![0]!.TargetGroupArn!;
  const Attributes = [{ Key: 'deregistration_delay.timeout_seconds', Value: '10' }];
  await elb.send(new ModifyTargetGroupAttributesCommand({ TargetGroupArn: arn, Attributes }));
  const { LoadBalancers } = await elb.send(new CreateLoadBalancerCommand({ Name: name, Subnets: subnets }));
  await elb.send(
    new CreateListenerCommand({
      ...{ LoadBalancerArn: LoadBalancers![0]!.LoadBalancerArn, Protocol: 'HTTP', Port: 80 },
      DefaultActions: [{ Type: 'forward', TargetGroupArn: arn }],
    }),
  );
  await elb.send(new DescribeTargetHealthCommand({ TargetGroupArn: arn }));
  const answer = await fetch(`${aws.url}/sandbox/elasticloadbalancing`);
  const { ports } = (await answer.json()) as { ports: Record<string, number> };
  const port = await publishedPort(engine, containerName('aws'), ports[arn]!);
  return { arn, url: `http://127.0.0.1:${port}` };
}

/** Removes it with its target group: the targets of what nobody uses would be asked for their health for ever. */
export async function removeBalancer(name: string): Promise<void> {
  const elb = await elbClient();
  const { LoadBalancers = [] } = await elb.send(new DescribeLoadBalancersCommand({ Names: [name] }));
  for (const { LoadBalancerArn } of LoadBalancers)
    await elb.send(new DeleteLoadBalancerCommand({ LoadBalancerArn }));
  const { TargetGroups = [] } = await elb.send(new DescribeTargetGroupsCommand({ Names: [name] }));
  for (const { TargetGroupArn } of TargetGroups)
    await elb.send(new DeleteTargetGroupCommand({ TargetGroupArn }));
}
