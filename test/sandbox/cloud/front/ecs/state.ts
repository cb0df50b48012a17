import type {
  Cluster,
  CreateServiceCommandInput,
  RegisterTaskDefinitionCommandInput,
  RunTaskCommandInput,
  ServiceDeployment,
  ServiceEvent,
  Tag,
  TaskDefinition,
  Task as TaskJson,
} from '@aws-sdk/client-ecs';

export type RegisterInput = RegisterTaskDefinitionCommandInput;
export type CreateInput = CreateServiceCommandInput;
export type RunInput = RunTaskCommandInput;

export interface Revision {
  json: TaskDefinition;
  tags: Tag[];
}

/** Why the scheduler ends a task. */
export interface StopOrder {
  reason: string;
  code: 'ServiceSchedulerInitiated' | 'UserInitiated' | 'EssentialContainerExited' | 'TaskFailedToStart';
}

/** One task: what is told of it, and what runs. */
export interface Task {
  id: string;
  json: TaskJson;
  revision: Revision;
  overrides: RunInput['overrides'];
  service?: Service;
  deployment?: Deployment;
  /** the scheduler's order to end; from then on it counts as gone */
  stop: AbortController;
  order?: StopOrder;
  /** when it became RUNNING */
  running?: number;
  /** it was seen to pass all of its health checks once */
  wasHealthy: boolean;
  address?: string;
}

export interface Deployment {
  id: string;
  status: 'PRIMARY' | 'ACTIVE' | 'INACTIVE';
  revision: Revision;
  rollout: 'IN_PROGRESS' | 'COMPLETED' | 'FAILED';
  reason: string;
  created: Date;
  updated: Date;
  failed: number;
  /** one of its tasks was healthy: failures are not counted any more */
  proven: boolean;
  /** the scheduler waits until then before it tries again */
  notBefore: number;
  tasks: Task[];
  /** what DescribeServiceDeployments tells of it; a rollback continues the record of what it rolls back */
  record: ServiceDeployment;
}

export interface Service {
  name: string;
  arn: string;
  cluster: string;
  status: 'ACTIVE' | 'DRAINING' | 'INACTIVE';
  input: CreateInput;
  desired: number;
  created: Date;
  /** newest first; the first one is PRIMARY */
  deployments: Deployment[];
  /** the revision of the last deployment that completed, and that deployment's id */
  completed?: { revision: Revision; id: string };
  events: ServiceEvent[];
  /** when it was last said that the service is steady */
  steady?: string;
  records: ServiceDeployment[];
  /** what was told of it before the last UpdateService, and how often it is told again */
  stale?: { told: unknown; left: number };
}

/** What a test can switch on by `POST /sandbox/ecs`. */
export interface EcsFaults {
  /** no task can be placed */
  noCapacity: boolean;
  /** so many of the next calls are refused with ThrottlingException */
  throttle: number;
  /** only these operations are throttled; all, if none is named */
  throttleOnly: string[];
  /** so many DescribeServices after an UpdateService answer as before it */
  stale: number;
  /** how often the scheduler looks */
  tickMs: number;
  /** from a task that failed until the next is tried; AWS waits longer each time, and does not say how long */
  retryMs: number;
  /** from RUNNING until a task without any health check counts as healthy */
  healthyAfterMs: number;
  /** how long a second of stopTimeout, of a health check and of the grace period lasts */
  secondMs: number;
}

export const noFaults = (): EcsFaults => ({
  noCapacity: false,
  throttle: 0,
  throttleOnly: [],
  stale: 0,
  tickMs: 200,
  retryMs: 1000,
  healthyAfterMs: 40_000,
  secondMs: 1000,
});

export interface EcsState {
  clusters: Map<string, Cluster>;
  /** by family, oldest first */
  families: Map<string, Revision[]>;
  /** by `cluster/name` */
  services: Map<string, Service>;
  /** by id */
  tasks: Map<string, Task>;
  /** what a service revision's ARN stands for */
  revisions: Map<string, { service: Service; revision: Revision }>;
  faults: EcsFaults;
}

export const newEcsState = (): EcsState => ({
  clusters: new Map(),
  families: new Map(),
  services: new Map(),
  tasks: new Map(),
  revisions: new Map(),
  faults: noFaults(),
});
