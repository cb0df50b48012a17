import type { State } from './state.ts';

/** The parameters of a call: a JSON body, or the form of a query service with its dotted names as they are. */
export type Input = Record<string, unknown>;

/** One operation of a service that the front answers in moto's place, or whose answer by moto it completes. */
export type Operation = Replacing | Amending;

interface Replacing {
  /** ARNs that the caller's policies must allow it on; everything, where a service has no narrower ones. */
  resources?: (input: Input, state: State) => string[] | Promise<string[]>;
  /** @returns the answer: an object for the JSON protocols, the inner XML for the query protocols */
  // biome-ignore lint/suspicious/noExplicitAny: each operation knows the shape of its own input
  run: (input: any, state: State) => unknown;
}

interface Amending {
  /** @returns moto's successful answer, as the caller is to see it; JSON protocols only */
  // biome-ignore lint/suspicious/noExplicitAny: each operation knows the shape of its own answer
  amend: (answer: any, state: State) => object | Promise<object>;
}

/** A service by the name that requests are signed for. */
export interface Service {
  protocol: 'json-1.0' | 'json-1.1' | 'query' | 'ec2';
  /** namespace of its XML answers */
  xmlns?: string;
  /** called first: throttling and other faults that a test has switched on */
  before?: (operation: string, state: State) => void;
  operations: Record<string, Operation>;
  /** what `POST /sandbox/<service>` may set; answered by GET as it stands, reset by DELETE */
  control?: {
    get: (state: State) => object;
    set: (change: Input, state: State) => void;
    reset: (state: State) => void;
  };
}
