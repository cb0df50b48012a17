import assert from 'node:assert/strict';
import { PassThrough } from 'node:stream';
import { test } from 'node:test';
import { SSMClient } from '@aws-sdk/client-ssm';
import { cmd } from '../../../lib/command.ts';
import { tail } from '../../../lib/ssm.ts';
import { ask, execute, type Order } from '../../../lib/ssm-delivery.ts';

const INSTANCE = 'i-0123456789abcdef0';
const LOOK = 'opsbook fetches output';

/** What SSM tells of a command. */
interface Told {
  /** Absent: it is in progress, for ever. */
  text?: string;
}

/**
 * SSM as far as we ask it: a command's fate is what `fate` says of its comment and its text; the instance is online
 * unless told.
 */
function ssm(fate: (comment: string, script: string) => Told, online: () => boolean = () => true) {
  const sent: Array<{ id: string; comment: string; script: string; timeouts: number[] }> = [];
  const toldOf = (id: string) => {
    const { comment = '', script = '' } = sent.find((one) => one.id === id) ?? {};
    const { text } = fate(comment, script);
    const Status = text === undefined ? 'InProgress' : 'Success';
    return { InstanceId: INSTANCE, Status, StandardOutputContent: text ?? '' };
  };
  const send = async (command: { constructor: { name: string }; input: Record<string, never> }) => {
    const { Comment = '', Parameters, TimeoutSeconds, CommandId = '' } = command.input;
    switch (command.constructor.name) {
      case 'SendCommandCommand': {
        const { commands, executionTimeout } = Parameters as unknown as Record<string, string[]>;
        const id = `command-${sent.length}`;
        const timeouts = [Number(TimeoutSeconds), Number(executionTimeout?.[0])];
        sent.push({ id, comment: Comment, script: commands?.[0] ?? '', timeouts });
        return { Command: { CommandId: id } };
      }
      case 'ListCommandInvocationsCommand':
        return { CommandInvocations: [toldOf(CommandId)] };
      case 'GetCommandInvocationCommand':
        return toldOf(CommandId);
      case 'DescribeInstanceInformationCommand':
        return {
          InstanceInformationList: [
            { InstanceId: INSTANCE, PingStatus: online() ? 'Online' : 'ConnectionLost' },
          ],
        };
      default:
        return {};
    }
  };
  return { client: Object.assign(new SSMClient({ region: 'eu-north-1' }), { send }) as SSMClient, sent };
}

/** The answer of a command that wrote nothing. */
const EMPTY = 'H4sIAAAAAAAAAwMAAAAAAAAAAAA=';
const DONE: Told = { text: `opsbook 0 20 20\n${EMPTY}\n${EMPTY}\n` };

const order = (more: Partial<Order> = {}): Order => ({ command: cmd`true`, ...more });

test('F29: a look at the output that never ends does not keep a run that has ended', {
  timeout: 30_000,
}, async () => {
  let over = false;
  const { client, sent } = ssm((comment) => (comment === LOOK ? {} : over ? DONE : {}));
  const shown = { out: new PassThrough(), err: new PassThrough(), outBytes: 0, errBytes: 0 };
  const ended: unknown[] = [];
  const running = execute(
    client,
    [INSTANCE],
    order({ whileRunning: (instance, id, stop) => tail(client, instance, id, shown, stop) }),
    (_, result) => ended.push(result),
  );
  while (!sent.some(({ comment }) => comment === LOOK)) await new Promise((done) => setTimeout(done, 20));
  over = true;
  await running;
  assert.deepEqual(ended, [{ code: 0, out: Buffer.alloc(0), err: Buffer.alloc(0), paged: false }]);
});

test('F29: an interruption ends the wait for a look, and a look may take a minute', {
  timeout: 30_000,
}, async () => {
  const { client, sent } = ssm(() => ({}));
  const interruption = new AbortController();
  const asking = ask(client, INSTANCE, 'echo', interruption.signal);
  while (sent.length === 0) await new Promise((done) => setTimeout(done, 20));
  interruption.abort(new Error('interrupted'));
  await assert.rejects(asking, /^Error: interrupted$/);
  assert.deepEqual(sent[0]?.timeouts, [60, 60]);
});

test('F29: SSM is told how long a command may take', { timeout: 30_000 }, async () => {
  const { client, sent } = ssm(() => DONE);
  for (const command of [cmd`true`, { ...cmd`true`, withinS: 60 }] as const)
    await execute(client, [INSTANCE], { command }, () => {});
  assert.deepEqual(
    sent.map(({ timeouts }) => timeouts),
    [
      [60, 172_800],
      [60, 60],
    ],
  );
});

test('F29: output of which a part is gone is a failure, and not cut', { timeout: 30_000 }, async () => {
  const { client } = ssm((comment) => ({ text: comment === LOOK ? EMPTY : 'opsbook 0 40000 20\n' }));
  const ended: unknown[] = [];
  await execute(client, [INSTANCE], order(), (_, result) => ended.push(result));
  assert.match(
    String(ended[0]),
    /Failure: \d+ of \d+ bytes of the command's output \((out|err)\.gz\) could be fetched/,
  );
});
