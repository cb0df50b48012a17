import { PassThrough, type Readable } from 'node:stream';
import type { SSMClient } from '@aws-sdk/client-ssm';
import { type Command, failureOf } from '../../command.ts';
import { Failure } from '../../failure.ts';
import type { Host, HostOptions, Running } from '../../host.ts';
import { Secret } from '../../secret.ts';
import type { Answer } from './answer.ts';
import { execute } from './execute.ts';
import { type Shown, tail } from './tail.ts';

const STDERR_KEPT = 4000;

/** An instance that SSM's agent runs commands on, as root. */
export interface SsmHost extends Host {
  readonly instance: string;
  readonly client: SSMClient;
}

export function ssmHost(instance: string, name: string, client: SSMClient, options: HostOptions): SsmHost {
  const { signal, onStart } = options;
  const perform = async (
    command: Command,
    input: string | Secret | undefined,
    shown?: Shown,
  ): Promise<Answer> => {
    const whileRunning =
      shown && ((_: string, id: string, stop: AbortSignal) => tail(client, instance, id, shown, stop));
    let found: Answer | Failure | undefined;
    await execute(
      client,
      [instance],
      { command, input, signal, whileRunning },
      (_, result) => (found = result),
    );
    if (!found || found instanceof Failure)
      throw found ?? new Failure(`${name}: SSM told nothing of the command`);
    return found;
  };
  return {
    ...{ name, target: `ssm://${instance}`, instance, client },
    start(command) {
      onStart?.(command);
      return running(command, name, (input, shown) => perform(command, input, shown));
    },
    async run(command, input) {
      onStart?.(command);
      const answer = await perform(command, input);
      refuseMisfortune(command, answer, name);
      return answer.out.toString('utf8');
    },
    get uninterrupted() {
      return ssmHost(instance, name, client, { onStart });
    },
  };
}

/**
 * A command with open streams: it starts when its input has ended, since SSM takes none while it runs; its output is
 * passed on while it runs.
 */
function running(
  command: Command,
  name: string,
  perform: (input: Secret, shown: Shown) => Promise<Answer>,
): Running {
  const stdin = new PassThrough();
  const shown: Shown = { out: new PassThrough(), err: new PassThrough(), outBytes: 0, errBytes: 0 };
  const act = async () => {
    try {
      // Whoever writes to a stream does not say whether it is secret.
      const answer = await perform(new Secret(await textOf(stdin)), shown);
      shown.out.end(answer.out.subarray(shown.outBytes));
      shown.err.end(answer.err.subarray(shown.errBytes));
      refuseMisfortune(command, answer, name);
    } finally {
      shown.out.end();
      shown.err.end();
    }
  };
  const done = act();
  done.catch(() => {});
  return { stdin, stdout: shown.out, stderr: shown.err, done, kill: () => stdin.destroy() };
}

async function textOf(stream: Readable): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString('utf8');
}

/** @throws CommandFailure when the command did not end well */
export function refuseMisfortune(command: Command, { code, err }: Answer, on: string): void {
  const failed = failureOf(command, { code, stderr: err.subarray(-STDERR_KEPT).toString('utf8'), on });
  if (failed) throw failed;
}
