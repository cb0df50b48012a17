import { setTimeout as sleep } from 'node:timers/promises';
import type {
  ElasticLoadBalancingV2Client,
  TargetDescription,
  TargetHealthDescription,
} from '@aws-sdk/client-elastic-load-balancing-v2';
import { awsFailure } from '../../aws-failure.ts';
import { Failure } from '../../failure.ts';
import { duration } from '../../format.ts';

/** A target group as a rolling deployment sees it. Targets go by the id of their instance. */
export interface TargetGroup {
  readonly arn: string;
  targets(): Promise<TargetHealthDescription[]>;
  /** How long a target that was taken out gets to end its requests, in milliseconds. */
  drainMs(): Promise<number>;
  /** Takes a target out, and waits until its last request was answered. */
  takeOut(target: TargetDescription): Promise<void>;
  /** Puts a target in, and waits until the load balancer itself finds it healthy. */
  putIn(target: TargetDescription, timeoutMs: number): Promise<void>;
}

const POLL_MS = 500;
/** Beyond the delay that the group itself states; the state is told late. */
const LATE_MS = 60_000;

export function targetGroup(
  client: ElasticLoadBalancingV2Client,
  arn: string,
  signal: AbortSignal | undefined,
): TargetGroup {
  const call = async <T>(name: string, act: () => Promise<T>): Promise<T> => {
    try {
      return await act();
    } catch (error) {
      if (signal?.aborted) throw signal.reason;
      throw awsFailure(error, `elasticloadbalancing:${name}`, arn);
    }
  };
  const sdk = () => import('@aws-sdk/client-elastic-load-balancing-v2');
  const pause = () =>
    sleep(POLL_MS, undefined, signal ? { signal } : {}).catch(() => signal?.throwIfAborted());
  const look = async (target: TargetDescription): Promise<TargetHealthDescription | undefined> => {
    const { DescribeTargetHealthCommand } = await sdk();
    const ask = new DescribeTargetHealthCommand({ TargetGroupArn: arn, Targets: [target] });
    const found = await call('DescribeTargetHealth', () => client.send(ask));
    return found.TargetHealthDescriptions?.[0];
  };
  const group: TargetGroup = {
    arn,
    async targets() {
      const { DescribeTargetHealthCommand } = await sdk();
      const ask = new DescribeTargetHealthCommand({ TargetGroupArn: arn });
      const found = await call('DescribeTargetHealth', () => client.send(ask));
      return found.TargetHealthDescriptions ?? [];
    },
    async drainMs() {
      const { DescribeTargetGroupAttributesCommand } = await sdk();
      const ask = new DescribeTargetGroupAttributesCommand({ TargetGroupArn: arn });
      const { Attributes = [] } = await call('DescribeTargetGroupAttributes', () => client.send(ask));
      const delay = Attributes.find(({ Key }) => Key === 'deregistration_delay.timeout_seconds')?.Value;
      return Number(delay ?? 300) * 1000;
    },
    async takeOut(target) {
      const { DeregisterTargetsCommand } = await sdk();
      const out = new DeregisterTargetsCommand({ TargetGroupArn: arn, Targets: [target] });
      const deadline = Date.now() + (await group.drainMs()) + LATE_MS;
      await call('DeregisterTargets', () => client.send(out));
      for (let state: string | undefined; ; await pause()) {
        state = (await look(target))?.TargetHealth?.State;
        if (state === undefined || state === 'unused') return;
        if (Date.now() > deadline)
          throw new Failure(
            `${target.Id} is still ${state}, ${duration(LATE_MS)} after its deregistration delay`,
            {
              next: 'look at the target group; run it again when the target is unused',
            },
          );
      }
    },
    async putIn(target, timeoutMs) {
      const { RegisterTargetsCommand } = await sdk();
      const put = new RegisterTargetsCommand({ TargetGroupArn: arn, Targets: [target] });
      await call('RegisterTargets', () => client.send(put));
      const deadline = Date.now() + timeoutMs;
      for (let found: TargetHealthDescription | undefined; ; await pause()) {
        found = await look(target);
        if (found?.TargetHealth?.State === 'healthy') return;
        if (Date.now() > deadline) throw unhealthy(target, found, timeoutMs);
      }
    },
  };
  return group;
}

function unhealthy(
  target: TargetDescription,
  found: TargetHealthDescription | undefined,
  waited: number,
): Failure {
  const { State, Reason, Description } = found?.TargetHealth ?? {};
  const why = [State, Reason, Description].filter(Boolean).join(', ');
  return new Failure(
    `${target.Id}:${target.Port} is not healthy for the load balancer after ${duration(waited)}: ${why}`,
    {
      next: "compare the target group's health check with what the app answers on that port",
    },
  );
}
