/** Status of a command and of an invocation, as the API names them. */
type Status = 'Pending' | 'InProgress' | 'Success' | 'Cancelled' | 'Failed' | 'TimedOut' | 'Cancelling';

/** One command on one instance. */
export interface Invocation {
  instanceId: string;
  instanceName: string;
  status: Status;
  /** finer than the status: `DeliveryTimedOut`, `ExecutionTimedOut`, `Terminated`, … */
  details: string;
  /** -1 until it ended */
  responseCode: number;
  requested: Date;
  started?: Date;
  ended?: Date;
  /** what the agent has kept; told only when it ended */
  stdout: string;
  stderr: string;
  /** calls the command back, while it waits or runs */
  cancel: AbortController;
}

export interface Command {
  id: string;
  documentName: string;
  comment: string;
  /** kept and shown in clear, as AWS does: nothing secret belongs here */
  parameters: Record<string, string[]>;
  instanceIds: string[];
  targets: { Key: string; Values: string[] }[];
  requested: Date;
  /** seconds within which an instance must have begun */
  deliveryTimeout: number;
  /** seconds that it may run */
  executionTimeout: number;
  maxConcurrency: string;
  maxErrors: string;
  status: Status;
  details: string;
  invocations: Invocation[];
}

/** What a test can switch on by `POST /sandbox/ssm`. */
export interface SsmFaults {
  /** ids of instances whose agent never registered */
  unregistered: string[];
  /** ids of instances that registered, and are not heard of any more */
  lost: string[];
  /** ids of instances that take commands up, and tell nothing more of them */
  silent: string[];
  /** so many of the next calls are refused with ThrottlingException */
  throttle: number;
  /** only these operations are throttled; all, if none is named */
  throttleOnly: string[];
  /** from SendCommand until an instance has the command */
  deliveryMs: number;
  /** from SendCommand until its invocations can be asked for */
  invisibleMs: number;
  /** how long a second lasts for who waits for a node out of reach: less than 1000 lets tests see the end of it */
  deliverySecondMs: number;
}

export const noFaults = (): SsmFaults => ({
  unregistered: [],
  lost: [],
  silent: [],
  throttle: 0,
  throttleOnly: [],
  deliveryMs: 150,
  invisibleMs: 100,
  deliverySecondMs: 1000,
});

export interface SsmState {
  /** by id, oldest first */
  commands: Map<string, Command>;
  faults: SsmFaults;
}

export const newSsmState = (): SsmState => ({ commands: new Map(), faults: noFaults() });
