import { setTimeout as sleep } from 'node:timers/promises';
import type { SSMClient } from '@aws-sdk/client-ssm';
import { awsFailure } from '../../aws-failure.ts';

const FIRST_POLL_MS = 150;
const SLOWEST_POLL_MS = 900;
/** Each wait is longer than the one before by this: what is quick is seen at once, what is slow is asked for seldom. */
const SLOWER = 1.3;

/** The waits between polls, in milliseconds. */
export function* intervals(): Generator<number> {
  for (let ms = FIRST_POLL_MS; ; ms = Math.min(ms * SLOWER, SLOWEST_POLL_MS)) yield ms;
}

/** How often it is asked whether those that have not ended can still be reached. */
const REACHED_MS = 20_000;

const ENDED = new Set(['Success', 'Cancelled', 'TimedOut', 'Failed']);

/** An instance whose command changes no more: it ended, or the instance was lost on the way. */
interface Settled {
  instance: string;
  lost: boolean;
}

/**
 * The instances of a command as each of them ends. One call asks for all: SSM throttles those who ask for each. A
 * command on an instance that went away stays in progress for two days: it is given up when SSM says so.
 * @throws what `signal` was aborted with
 */
export async function* invocationsEnded(
  client: SSMClient,
  command: string,
  instances: readonly string[],
  signal: AbortSignal | undefined,
): AsyncGenerator<Settled> {
  const open = new Set(instances);
  const leave = (ids: readonly string[], lost: boolean): Settled[] =>
    ids.filter((id) => open.delete(id)).map((instance) => ({ instance, lost }));
  let asked = Date.now();
  for (const ms of intervals()) {
    await pause(ms, signal);
    yield* leave(await ended(client, command), false);
    if (open.size === 0) return;
    if (Date.now() - asked < REACHED_MS) continue;
    asked = Date.now();
    yield* leave(await unreachable(client, [...open]), true);
  }
}

async function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  await sleep(ms, undefined, { ...(signal ? { signal } : {}) }).catch((error: unknown) => {
    throw signal?.aborted ? signal.reason : error;
  });
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

/** Asks until there is an answer. */
export async function untilEnded<T>(look: () => Promise<T | undefined>): Promise<T> {
  for (const ms of intervals()) {
    const found = await look();
    if (found !== undefined) return found;
    await sleep(ms);
  }
  throw new Error('unreachable: the waits do not end');
}
