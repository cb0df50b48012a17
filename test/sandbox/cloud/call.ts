/*
 * Calls AWS as the tests do: `call.ts ssm GetCommandInvocation '{…}'` prints the answer, or the error as `{"error": …}`.
 * `call.ts ssm run '{…}'` sends a command, follows it to its end and prints all that there was to see on the way;
 * with `CANCEL_WHEN=InProgress` it cancels the command as soon as an invocation says so.
 */
import { setTimeout as sleep } from 'node:timers/promises';

type Answer = Record<string, unknown>;
type Call = (operation: string, input: object) => Promise<Answer>;

const packages: Record<string, () => Promise<unknown>> = {
  ssm: () => import('@aws-sdk/client-ssm'),
  ecr: () => import('@aws-sdk/client-ecr'),
};
const clients: Record<string, string> = { ssm: 'SSMClient', ecr: 'ECRClient' };

async function caller(service: string): Promise<Call> {
  // biome-ignore lint/suspicious/noExplicitAny: operations are named on the command line
  const sdk = (await packages[service]!()) as Record<string, any>;
  const client = new sdk[clients[service]!]({ maxAttempts: 1 });
  return async (operation, input) => {
    try {
      const { $metadata, ...answer } = await client.send(new sdk[`${operation}Command`](input));
      return answer;
    } catch (error) {
      const { name, message } = error as Error;
      return { error: name, message };
    }
  };
}

/** One invocation until its end: its last answer, and each state that it was seen in. */
async function follow(call: Call, CommandId: unknown, InstanceId: string): Promise<Answer> {
  const seen: unknown[] = [];
  for (;;) {
    const now = await call('GetCommandInvocation', { CommandId, InstanceId });
    const state = now.error ?? now.Status;
    if (seen.at(-1) !== state) seen.push(state);
    if (state === process.env.CANCEL_WHEN) await call('CancelCommand', { CommandId });
    const isOver = !['InvocationDoesNotExist', 'Pending', 'InProgress', 'Cancelling'].includes(String(state));
    if (isOver) return { ...now, seen };
    if (now.StandardOutputContent) seen.push('output before the end');
    await sleep(20);
  }
}

async function run(call: Call, input: object): Promise<Answer> {
  const { Command, ...failed } = (await call('SendCommand', input)) as { Command?: Answer };
  if (!Command) return failed;
  const { CommandId } = Command;
  const list = (): Promise<Answer> => call('ListCommandInvocations', { CommandId, Details: true });
  for (;;) {
    const { CommandInvocations = [] } = (await list()) as { CommandInvocations?: { InstanceId: string }[] };
    const ids = CommandInvocations.map(({ InstanceId }) => InstanceId);
    if (ids.length === Command.TargetCount) {
      const invocations = await Promise.all(ids.map((id) => follow(call, CommandId, id)));
      const { Commands } = (await call('ListCommands', { CommandId })) as { Commands: Answer[] };
      return { sent: Command, invocations, command: Commands[0], listed: await list() };
    }
    await sleep(20);
  }
}

const [service = '', operation = '', input = '{}'] = process.argv.slice(2);
const call = await caller(service);
const act = operation === 'run' ? run(call, JSON.parse(input)) : call(operation, JSON.parse(input));
process.stdout.write(`${JSON.stringify(await act)}\n`);
