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

const ENDED = new Set(['Success', 'Cancelled', 'TimedOut', 'Failed']);

/**
 * The instances of a command as each of them ends. One call asks for all: SSM throttles those who ask for each.
 * @throws what `signal` was aborted with
 */
export async function* invocationsEnded(
  client: SSMClient,
  command: string,
  instances: readonly string[],
  signal: AbortSignal | undefined,
): AsyncGenerator<string> {
  const open = new Set(instances);
  for (const ms of intervals()) {
    await sleep(ms, undefined, { ...(signal ? { signal } : {}) }).catch((error: unknown) => {
      throw signal?.aborted ? signal.reason : error;
    });
    for (const { InstanceId = '', Status = '' } of await invocations(client, command))
      if (ENDED.has(Status) && open.delete(InstanceId)) yield InstanceId;
    if (open.size === 0) return;
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
