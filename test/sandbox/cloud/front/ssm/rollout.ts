import type { Instance } from '../instances.ts';
import type { State } from '../state.ts';
import { invoke } from './invoke.ts';
import type { Command, Invocation } from './state.ts';

/** `5` or `20%` of so many, and at least `least`. */
function part(value: string, all: number, least: number): number {
  const amount = Number.parseInt(value, 10);
  return value.endsWith('%') ? Math.max(least, Math.floor((all * amount) / 100)) : amount;
}

/** What was not delivered is no error: neither a timeout of delivery nor a node that cannot be reached. */
const isError = ({ status, details }: Invocation): boolean =>
  status === 'Failed' || (status === 'TimedOut' && details !== 'DeliveryTimedOut');

/**
 * Sends a command to its nodes: to MaxConcurrency at a time, and to no further ones when more than MaxErrors have
 * failed. Those that run are let finish.
 */
export async function rollOut(command: Command, nodes: Instance[], state: State): Promise<void> {
  const { invocations } = command;
  const width = part(command.maxConcurrency, nodes.length, 1);
  const tolerated = part(command.maxErrors, nodes.length, 0);
  const failedTooOften = (): boolean => invocations.filter(isError).length > tolerated;
  let next = 0;
  const worker = async (): Promise<void> => {
    for (let at = next++; at < nodes.length; at = next++) {
      const invocation = invocations[at]!;
      if (failedTooOften() && !invocation.cancel.signal.aborted) terminate(invocation);
      else await invoke(command, invocation, nodes[at]!, state);
    }
  };
  await Promise.all(Array.from({ length: Math.min(width, nodes.length) }, worker));
  conclude(command, failedTooOften());
}

/** The system's own cancellation: the command has failed on too many nodes before it came to this one. */
function terminate(invocation: Invocation): void {
  Object.assign(invocation, { status: 'Cancelled', details: 'Terminated', ended: new Date() });
}

/** The command's own state, from those of its invocations ("Understanding command statuses"). */
function conclude(command: Command, failedTooOften: boolean): void {
  const { invocations } = command;
  const all = (details: string): boolean => invocations.every((one) => one.details === details);
  const any = (details: string): boolean => invocations.some((one) => one.details === details);
  const is = (status: Command['status'], details: string): void =>
    void Object.assign(command, { status, details });
  if (invocations.length === 0) is('Success', 'NoInstancesInTag');
  else if (all('Success')) is('Success', 'Success');
  else if (command.status === 'Cancelling') is('Cancelled', 'Cancelled');
  else if (failedTooOften && any('ExecutionTimedOut') && !any('Failed')) is('TimedOut', 'ExecutionTimedOut');
  else if (failedTooOften) is('Failed', 'Failed');
  else if (all('DeliveryTimedOut')) is('TimedOut', 'DeliveryTimedOut');
  else is('Failed', 'Incomplete');
}
