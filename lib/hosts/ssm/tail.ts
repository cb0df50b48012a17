import type { PassThrough } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import type { SSMClient } from '@aws-sdk/client-ssm';
import { ask } from './execute.ts';
import { PEEK, peekScript } from './script.ts';

/** The output of a running command as far as it has been passed on. */
export interface Shown {
  out: PassThrough;
  err: PassThrough;
  outBytes: number;
  errBytes: number;
}

/** A command that is done sooner needs no looking in between. */
const FIRST_LOOK_MS = 1_500;
const PAUSE_MS = 1_000;

/** Passes on what a running command writes, by commands that read its files, until it is told to stop. */
export async function tail(
  client: SSMClient,
  instance: string,
  id: string,
  shown: Shown,
  stop: AbortSignal,
): Promise<void> {
  let pause = FIRST_LOOK_MS;
  while (!stop.aborted) {
    if (await sleep(pause, false, { signal: stop }).catch(() => true)) return;
    // What cannot be read now comes with the rest, when the command has ended.
    const seen = await ask(client, instance, peekScript(id, shown.outBytes, shown.errBytes), stop).catch(
      () => '',
    );
    if (stop.aborted) return;
    const [out = '', err = ''] = seen.split('\n');
    const [more, said] = [Buffer.from(out, 'base64'), Buffer.from(err, 'base64')];
    shown.outBytes += more.length;
    shown.errBytes += said.length;
    shown.out.write(more);
    shown.err.write(said);
    pause = more.length === PEEK.out || said.length === PEEK.err ? 0 : PAUSE_MS;
  }
}
