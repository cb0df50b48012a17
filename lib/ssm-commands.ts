import { setTimeout as sleep } from 'node:timers/promises';
import type { GetCommandInvocationResult, SSMClient } from '@aws-sdk/client-ssm';
import { awsFailure } from './aws.ts';
import { Failure } from './failure.ts';
import { duration } from './format.ts';

/** The agent's own limit, in seconds: the longest there is. Who starts a command ends it, not a clock. */
export const LONGEST_S = 172_800;
/** An instance that did not take the command up by then is not going to. */
const DELIVERY_S = 60;

export interface Sending {
  instances: readonly string[];
  script: string;
  comment: string;
  /** How long it may run, in seconds; the agent ends it then. */
  limitS: number;
}

/** Sends a script to be run by a shell of root's; returns the command's id. */
export async function send(client: SSMClient, sending: Sending): Promise<string> {
  const { SendCommandCommand } = await import('@aws-sdk/client-ssm');
  const { instances, script, comment, limitS } = sending;
  try {
    const { Command } = await client.send(
      new SendCommandCommand({
        DocumentName: 'AWS-RunShellScript',
        InstanceIds: [...instances],
        // Long commands are known by their beginning.
        Comment: comment.slice(0, 100),
        TimeoutSeconds: DELIVERY_S,
        Parameters: { commands: [script], executionTimeout: [String(limitS)] },
        // Each is asked whatever becomes of the others, as over ssh. As many as one command takes run it at once.
        MaxErrors: String(instances.length),
      }),
    );
    return Command?.CommandId ?? '';
  } catch (error) {
    throw awsFailure(error, 'ssm:SendCommand', instances.join(', '));
  }
}

/** An invocation that does not change any more, or undefined. Right after sending there is none. */
async function endedInvocation(
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

const FIRST_POLL_MS = 150;
const SLOWEST_POLL_MS = 900;
/** Each wait is longer than the one before by this: what is quick is seen at once, what is slow is asked for seldom. */
const SLOWER = 1.3;

/** What ends a wait for a command: the end of what it serves, and the time after which SSM itself gives the command up. */
export interface Patience {
  signal?: AbortSignal | undefined;
  /** How long the command may run, in seconds; its delivery has a time of its own. */
  limitS: number;
}

/** How often it is asked whether those that have not ended can still be reached. */
const REACHED_MS = 20_000;

/** How late SSM may be in telling that a command's time is over. */
const LATE_S = 60;

/**
 * The moments at which to look at a command, and whether it is time to ask for its instance as well.
 * @throws Failure when SSM should have given the command up; what `signal` was aborted with
 */
async function* looks({ signal, limitS }: Patience, command: string): AsyncGenerator<{ askReach: boolean }> {
  const begun = Date.now();
  const longestMs = (DELIVERY_S + limitS + LATE_S) * 1000;
  let asked = begun;
  for (let ms = FIRST_POLL_MS; ; ms = Math.min(ms * SLOWER, SLOWEST_POLL_MS)) {
    await sleep(ms, undefined, signal ? { signal } : {}).catch(() => signal?.throwIfAborted());
    const now = Date.now();
    if (now - begun > longestMs)
      throw new Failure(`SSM returned nothing about the command for ${duration(longestMs)}`, {
        next: `whether it ended: aws ssm list-command-invocations --command-id ${command}`,
      });
    const askReach = now - asked > REACHED_MS;
    if (askReach) asked = now;
    yield { askReach };
  }
}

const ENDED = new Set(['Success', 'Cancelled', 'TimedOut', 'Failed']);

/** An instance whose command changes no more: it ended, or the instance was lost on the way. */
interface Settled {
  instance: string;
  lost: boolean;
}

/**
 * The instances of a command as each of them ends. One call asks for all: SSM throttles those who ask for each. A
 * command on an instance that went away stays in progress for two days: it is given up when SSM says so.
 * @throws Failure when SSM tells nothing for longer than the command may take; what `signal` was aborted with
 */
export async function* invocationsEnded(
  client: SSMClient,
  command: string,
  instances: readonly string[],
  patience: Patience,
): AsyncGenerator<Settled> {
  const open = new Set(instances);
  const leave = (ids: readonly string[], lost: boolean): Settled[] =>
    ids.filter((id) => open.delete(id)).map((instance) => ({ instance, lost }));
  for await (const { askReach } of looks(patience, command)) {
    yield* leave(await ended(client, command), false);
    if (open.size === 0) return;
    if (askReach) yield* leave(await unreachable(client, [...open]), true);
    if (open.size === 0) return;
  }
}

/** Those whose invocation changes no more. */
async function ended(client: SSMClient, command: string): Promise<string[]> {
  const found = await invocations(client, command);
  return found.filter(({ Status = '' }) => ENDED.has(Status)).map(({ InstanceId = '' }) => InstanceId);
}

async function unreachable(client: SSMClient, instances: string[]): Promise<string[]> {
  const { DescribeInstanceInformationCommand } = await import('@aws-sdk/client-ssm');
  const ask = new DescribeInstanceInformationCommand({
    Filters: [{ Key: 'InstanceIds', Values: instances }],
  });
  try {
    const { InstanceInformationList = [] } = await client.send(ask);
    const reached = InstanceInformationList.filter(({ PingStatus }) => PingStatus === 'Online');
    return instances.filter((id) => !reached.some(({ InstanceId }) => InstanceId === id));
  } catch (error) {
    throw awsFailure(error, 'ssm:DescribeInstanceInformation', instances.join(', '));
  }
}

async function invocations(client: SSMClient, command: string) {
  const { paginateListCommandInvocations } = await import('@aws-sdk/client-ssm');
  const found = [];
  try {
    for await (const page of paginateListCommandInvocations({ client, pageSize: 50 }, { CommandId: command }))
      found.push(...(page.CommandInvocations ?? []));
  } catch (error) {
    throw awsFailure(error, 'ssm:ListCommandInvocations', command);
  }
  return found;
}

/**
 * The invocation of a command on one instance, when it changes no more.
 * @throws Failure when the instance was lost; what `signal` was aborted with
 */
export async function invocationEnded(
  client: SSMClient,
  command: string,
  instance: string,
  patience: Patience,
): Promise<GetCommandInvocationResult> {
  const told = await endedInvocation(client, command, instance);
  if (told) return told;
  for await (const { askReach } of looks(patience, command)) {
    const found = await endedInvocation(client, command, instance);
    if (found) return found;
    if (askReach && (await unreachable(client, [instance])).length > 0) throw lostOn(instance, command);
  }
  throw new Error('unreachable: looks end by a failure');
}

/** What a standard parameter holds, in characters. */
const PARAMETER_MAX = 4096;
/** DeleteParameters takes as many names at once. */
const AT_ONCE = 10;

/**
 * Stores a text as encrypted parameters below `path`, which the instance's role may read; an instance has no other
 * place to take a secret from that is not kept in SSM's history.
 */
export async function store(client: SSMClient, path: string, text: string): Promise<string[]> {
  const { PutParameterCommand } = await import('@aws-sdk/client-ssm');
  const encoded = Buffer.from(text).toString('base64');
  const names: string[] = [];
  try {
    for (let from = 0; from < encoded.length; from += PARAMETER_MAX) {
      const name = `${path}/${String(names.length).padStart(4, '0')}`;
      const Value = encoded.slice(from, from + PARAMETER_MAX);
      names.push(name);
      await client.send(new PutParameterCommand({ Name: name, Value, Type: 'SecureString' }));
    }
  } catch (error) {
    await forget(client, names).catch(() => {});
    throw awsFailure(error, 'ssm:PutParameter', path);
  }
  return names;
}

export async function forget(client: SSMClient, names: readonly string[]): Promise<void> {
  const { DeleteParametersCommand } = await import('@aws-sdk/client-ssm');
  for (let i = 0; i < names.length; i += AT_ONCE)
    await client.send(new DeleteParametersCommand({ Names: names.slice(i, i + AT_ONCE) }));
}
