import type { GetCommandInvocationResult, SSMClient } from '@aws-sdk/client-ssm';
import { awsFailure } from '../../aws-failure.ts';
import { Failure } from '../../failure.ts';

/** The agent's own limit, in seconds: the longest there is. Who starts a command ends it, not a clock. */
export const LONGEST_S = 172_800;
/** An instance that did not take the command up by then is not going to. */
export const DELIVERY_S = 60;

export interface Sending {
  instances: readonly string[];
  script: string;
  comment: string;
  /** How long it may run, in seconds; the agent ends it then. */
  limitS: number;
  /** How many run it at once, and how many may fail before it is sent to no more; SSM's own counting. */
  maxConcurrency?: number;
  maxErrors?: number;
}

/** Sends a script to be run by a shell of root's; returns the command's id. */
export async function send(client: SSMClient, sending: Sending): Promise<string> {
  const { SendCommandCommand } = await import('@aws-sdk/client-ssm');
  const { instances, script, comment, limitS, maxConcurrency, maxErrors } = sending;
  try {
    const { Command } = await client.send(
      new SendCommandCommand({
        DocumentName: 'AWS-RunShellScript',
        InstanceIds: [...instances],
        // Long commands are known by their beginning.
        Comment: comment.slice(0, 100),
        TimeoutSeconds: DELIVERY_S,
        Parameters: { commands: [script], executionTimeout: [String(limitS)] },
        ...(maxConcurrency ? { MaxConcurrency: String(maxConcurrency) } : {}),
        ...(maxErrors === undefined ? {} : { MaxErrors: String(maxErrors) }),
      }),
    );
    return Command?.CommandId ?? '';
  } catch (error) {
    throw awsFailure(error, 'ssm:SendCommand', instances.join(', '));
  }
}

/** An invocation that does not change any more, or undefined. Right after sending there is none. */
export async function ended(
  client: SSMClient,
  command: string,
  instance: string,
): Promise<GetCommandInvocationResult | undefined> {
  const { GetCommandInvocationCommand } = await import('@aws-sdk/client-ssm');
  try {
    const found = await client.send(
      new GetCommandInvocationCommand({ CommandId: command, InstanceId: instance }),
    );
    return RUNNING.has(found.Status ?? '') ? undefined : found;
  } catch (error) {
    if ((error as Error).name === 'InvocationDoesNotExist') return undefined;
    throw awsFailure(error, 'ssm:GetCommandInvocation', instance);
  }
}

const RUNNING = new Set(['Pending', 'InProgress', 'Delayed', 'Cancelling']);

/** Asks SSM to end a command; whether it did is seen by its status. */
export async function cancel(client: SSMClient, command: string): Promise<void> {
  const { CancelCommandCommand } = await import('@aws-sdk/client-ssm');
  await client.send(new CancelCommandCommand({ CommandId: command })).catch((error: unknown) => {
    throw awsFailure(error, 'ssm:CancelCommand', command);
  });
}

/** An instance that went away while a command ran on it. */
export const lostOn = (instance: string, sent: string) =>
  new Failure(`${instance} was lost while the command ran: SSM does not reach it any more`, {
    next: `see that it runs; whether the command ended: aws ssm list-command-invocations --command-id ${sent}`,
  });

/** What became of a command that gave no answer of ours, by SSM's words for it. */
export function unanswered(
  { StatusDetails, Status, StandardErrorContent, ResponseCode }: GetCommandInvocationResult,
  instance: string,
): Failure {
  const status = StatusDetails ?? Status ?? 'no status';
  const said = StandardErrorContent?.trim().split('\n').at(-1);
  const why = EXPLAINED[status] ?? `SSM says ${status}, exit code ${ResponseCode}`;
  return new Failure(`${instance}: ${why}${said ? `: ${said}` : ''}`, {
    next: `look at the instance: aws ssm describe-instance-information --filters Key=InstanceIds,Values=${instance}`,
  });
}

const EXPLAINED: Record<string, string> = {
  // SSM says the same of an instance that was lost while the command ran.
  'Delivery Timed Out': 'the instance was out of reach; whether the command ran is not known',
  DeliveryTimedOut: 'the instance was out of reach; whether the command ran is not known',
  'Execution Timed Out': 'the command took longer than SSM lets it, and was ended',
  ExecutionTimedOut: 'the command took longer than SSM lets it, and was ended',
  Undeliverable: 'the instance cannot be reached by SSM; the command did not run',
  Terminated: 'too many others failed; the command was not sent here',
  Cancelled: 'the command was cancelled',
};
