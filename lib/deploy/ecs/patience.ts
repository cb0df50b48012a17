import type { Service, TaskDefinition } from '@aws-sdk/client-ecs';
import { elbv2Client } from '../../aws.ts';
import { ask, type EcsApp } from './calls.ts';

/** What load balancers drain for unless they are told otherwise, in seconds. */
const DRAIN_S = 300;
const STOP_S = 30;

/**
 * How long a deployment may take, in milliseconds: each batch of tasks has to start, to become healthy, and to
 * let the old ones drain and end.
 * @param healthTimeoutMs what a new task may take until it is healthy
 */
export async function deploymentTimeout(
  app: EcsApp,
  service: Service,
  definition: TaskDefinition,
  healthTimeoutMs: number,
): Promise<number> {
  const drains = await Promise.all(
    (service.loadBalancers ?? []).map(({ targetGroupArn }) =>
      targetGroupArn ? drainSeconds(app, targetGroupArn) : 0,
    ),
  );
  const stops = (definition.containerDefinitions ?? []).map(({ stopTimeout }) => stopTimeout ?? STOP_S);
  const desired = service.desiredCount ?? 1;
  const { minimumHealthyPercent: least = 100, maximumPercent: most = 200 } =
    service.deploymentConfiguration ?? {};
  const room = Math.floor((desired * most) / 100) - Math.ceil((desired * least) / 100);
  const batches = Math.ceil(desired / Math.max(1, room));
  const grace = (service.healthCheckGracePeriodSeconds ?? 0) * 1000;
  const ending = (Math.max(0, ...drains) + Math.max(0, ...stops)) * 1000;
  return batches * (Math.max(healthTimeoutMs, grace) + ending);
}

async function drainSeconds(app: EcsApp, arn: string): Promise<number> {
  const { DescribeTargetGroupAttributesCommand } = await import('@aws-sdk/client-elastic-load-balancing-v2');
  const client = await elbv2Client(app.region);
  try {
    const { Attributes = [] } = await ask(
      app,
      'elasticloadbalancing:DescribeTargetGroupAttributes',
      arn,
      (options) => client.send(new DescribeTargetGroupAttributesCommand({ TargetGroupArn: arn }), options),
    );
    const found = Attributes.find(({ Key }) => Key === 'deregistration_delay.timeout_seconds');
    return Number(found?.Value ?? DRAIN_S);
  } catch {
    app.signal.throwIfAborted();
    return DRAIN_S; // it may not be read: as much as it is unless it was set
  }
}
