import { setTimeout as sleep } from 'node:timers/promises';
import type { GetCommandInvocationResult, SSMClient } from '@aws-sdk/client-ssm';
import { awsFailure } from '../../aws-failure.ts';
import { Failure } from '../../failure.ts';
import { duration } from '../../format.ts';
import { DELIVERY_S, ended as invocationOf, lostOn } from './calls.ts';

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
      throw new Failure(`SSM told nothing of the command for ${duration(longestMs)}`, {
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
  const told = await invocationOf(client, command, instance);
  if (told) return told;
  for await (const { askReach } of looks(patience, command)) {
    const found = await invocationOf(client, command, instance);
    if (found) return found;
    if (askReach && (await unreachable(client, [instance])).length > 0) throw lostOn(instance, command);
  }
  throw new Error('unreachable: looks end by a failure');
}
