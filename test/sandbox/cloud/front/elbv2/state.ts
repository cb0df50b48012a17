import type { Server } from 'node:http';

/** States as DescribeTargetHealth names them. */
export type Health = 'initial' | 'healthy' | 'unhealthy' | 'draining' | 'unused';

/** What a target is registered as: an address or an instance, and a port. */
export interface TargetId {
  id: string;
  port: number;
}

export interface Target extends TargetId {
  health: Health;
  reason: string;
  description: string;
  /** checks in a row with the same outcome */
  passed: number;
  failed: number;
  /** where it was when it was last checked */
  address?: string | undefined;
  /** when it was taken out */
  draining?: number;
  gone: AbortController;
}

/** A target group as moto keeps it, as far as it matters here. */
export interface GroupConfig {
  protocol: string;
  port: number;
  type: string;
  /** there is a load balancer that forwards to it */
  used: boolean;
  check: {
    path: string;
    port: string;
    intervalS: number;
    timeoutS: number;
    healthy: number;
    unhealthy: number;
    matcher: string;
  };
  /** seconds */
  drain: number;
}

export interface Group {
  arn: string;
  config: GroupConfig;
  read: number;
  targets: Target[];
  /** where a client reaches what the load balancer does: one port of the front's container a group */
  port: number;
  server: Server;
  turn: number;
}

/** What a test can set by `POST /sandbox/elasticloadbalancing`. */
export interface ElbFaults {
  /** how long a second of a health check's interval lasts */
  secondMs: number;
  /** how long a second of the deregistration delay lasts */
  drainSecondMs: number;
}

export const noFaults = (): ElbFaults => ({ secondMs: 1000, drainSecondMs: 1000 });

export interface ElbState {
  /** by ARN */
  groups: Map<string, Group>;
  faults: ElbFaults;
}

export const newElbState = (): ElbState => ({ groups: new Map(), faults: noFaults() });
