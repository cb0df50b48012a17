import { randomUUID } from 'node:crypto';
import type { SSMClient } from '@aws-sdk/client-ssm';
import { type Command, show } from '../../command.ts';
import { Failure } from '../../failure.ts';
import { Secret } from '../../secret.ts';
import { secretsOf } from '../shell.ts';
import { type Answer, readAnswer } from './answer.ts';
import { cancel, LONGEST_S, lostOn, type Sending, send, unanswered } from './calls.ts';
import { invocationEnded, invocationsEnded, type Patience } from './follow.ts';
import { forgetScript, pageScript, runScript, secretText } from './script.ts';
import { forget, store } from './secrets.ts';

/** A command for some instances. */
export interface Order extends Pick<Sending, 'maxConcurrency' | 'maxErrors'> {
  command: Command;
  input?: string | Secret | undefined;
  signal?: AbortSignal | undefined;
  /** Called for each instance while its command runs, with the folder that its output is in. */
  whileRunning?: ((instance: string, id: string, stop: AbortSignal) => Promise<void>) | undefined;
}

/** What a command's text and its input may come to; SSM refuses parameters of more than 64 KB. */
const INPUT_MAX = 40_000;

/**
 * Runs a command on instances by one SendCommand, and hands over what each answered as it ends. An interruption
 * cancels it.
 * @throws Failure of the sending; what goes wrong on an instance is handed over
 */
export async function execute(
  client: SSMClient,
  instances: readonly string[],
  order: Order,
  hear: (instance: string, result: Answer | Failure) => void,
): Promise<void> {
  const { command, input, signal } = order;
  const limitS = command.withinS ?? LONGEST_S;
  const id = randomUUID();
  const isSecret = (input instanceof Secret && input.reveal() !== '') || secretsOf(command).length > 0;
  const text = input instanceof Secret ? input.reveal() : (input ?? '');
  if (!isSecret && text.length > INPUT_MAX)
    throw new Failure(`${command.argv[0]}: ${text.length} bytes of input are more than SSM takes`, {
      next: 'run the script on the host itself, or reach it by ssh',
    });
  const secretPath = isSecret ? `/opsbook/${id}` : undefined;
  const names = secretPath ? await store(client, secretPath, secretText(command, text)) : [];
  try {
    const script = runScript({ id, command, secretPath, input: text });
    signal?.throwIfAborted();
    const sent = await send(client, {
      ...order,
      instances,
      script,
      comment: show(command),
      limitS,
    });
    const stop = new AbortController();
    const watching = instances.map((instance) => order.whileRunning?.(instance, id, stop.signal));
    try {
      await settleAll(client, sent, instances, id, { signal, limitS }, hear);
    } finally {
      stop.abort();
      await Promise.allSettled(watching);
    }
  } finally {
    await forget(client, names);
  }
}

async function settleAll(
  client: SSMClient,
  sent: string,
  instances: readonly string[],
  id: string,
  patience: Patience,
  hear: (instance: string, result: Answer | Failure) => void,
): Promise<void> {
  const { signal } = patience;
  const settled: Array<Promise<void>> = [];
  try {
    for await (const { instance, lost } of invocationsEnded(client, sent, instances, patience))
      if (lost) hear(instance, lostOn(instance, sent));
      else settled.push(result(client, sent, instance, id, signal).then((found) => hear(instance, found)));
  } catch (error) {
    // What has ended is read no further, and nobody asks any more how that went.
    await Promise.allSettled(settled);
    if (signal?.aborted) await cancel(client, sent);
    throw error;
  }
  await Promise.all(settled);
}

/** What an instance answered; by further commands where one answer does not hold it. */
async function result(
  client: SSMClient,
  sent: string,
  instance: string,
  id: string,
  signal: AbortSignal | undefined,
): Promise<Answer | Failure> {
  try {
    const invocation = await invocationEnded(client, sent, instance, { signal, limitS: LOOK_S });
    const page = async (file: string, from: number) =>
      Buffer.from(await ask(client, instance, pageScript(id, file, from), signal), 'base64');
    const answer = await readAnswer(invocation.StandardOutputContent ?? '', page);
    if (!answer) return unanswered(invocation, instance);
    if (answer.paged) await ask(client, instance, forgetScript(id), signal);
    return answer;
  } catch (error) {
    if (error instanceof Failure) return error;
    throw error;
  }
}

/** How long a script of our own may take that only looks, in seconds. */
const LOOK_S = 60;

/**
 * Runs a short script of our own; returns what it wrote.
 * @throws Failure when the instance does not answer; what `signal` was aborted with
 */
export async function ask(
  client: SSMClient,
  instance: string,
  script: string,
  signal: AbortSignal | undefined,
): Promise<string> {
  const comment = 'opsbook fetches output';
  const sent = await send(client, { instances: [instance], script, comment, limitS: LOOK_S });
  const invocation = await invocationEnded(client, sent, instance, { signal, limitS: LOOK_S });
  if (invocation.Status !== 'Success') throw unanswered(invocation, instance);
  return invocation.StandardOutputContent ?? '';
}
