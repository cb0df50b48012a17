import { performance } from 'node:perf_hooks';
import type { Readable } from 'node:stream';
import { type Command, CommandFailure } from './command.ts';
import { Failure } from './failure.ts';
import type { Host } from './host.ts';
import type { SsmHost } from './hosts/ssm/host.ts';
import type { Secret } from './secret.ts';

/** What became of a command on one of several hosts. */
export interface Outcome {
  host: Host;
  ms: number;
  /** Its exit code; absent where it did not come to one. */
  code?: number;
  failure?: Failure;
}

/** Hears what a host's command writes, as it does. */
export type Hear = (host: Host, stream: 'out' | 'err', chunk: Buffer) => void;

export interface FanOut {
  input?: string | Secret | undefined;
  /** How many hosts work at once. */
  atOnce?: number;
  hear: Hear;
  /** What is written is heard while the command runs, at the cost of a command of its own for each host. */
  live?: boolean;
  signal: AbortSignal;
}

/** The machine that we run on opens as many connections without trouble, and SSM's own default is 50. */
const AT_ONCE = 50;

/** Runs a command on all hosts, in parallel with a bound, and to the end on each whatever becomes of the others. */
export async function onEach(hosts: readonly Host[], command: Command, options: FanOut): Promise<Outcome[]> {
  const ssm = hosts.filter(isSsm);
  if (!options.live && ssm.length > 1 && ssm.length === hosts.length) {
    const { onInstances } = await import('./hosts/ssm/together.ts');
    return onInstances(ssm, command, { atOnce: AT_ONCE, ...options });
  }
  const waiting = hosts.map((host, i) => ({ host, i }));
  const outcomes: Outcome[] = [];
  const work = async () => {
    for (let next = waiting.shift(); next; next = waiting.shift())
      outcomes[next.i] = await onOne(next.host, command, options);
  };
  await Promise.all(Array.from({ length: options.atOnce ?? AT_ONCE }, work));
  return outcomes;
}

const isSsm = (host: Host): host is SsmHost => host.target.startsWith('ssm:');

async function onOne(host: Host, command: Command, { input, hear, signal }: FanOut): Promise<Outcome> {
  const started = performance.now();
  const outcome = (rest: Pick<Outcome, 'code' | 'failure'>): Outcome => ({
    ...{ host, ms: performance.now() - started },
    ...rest,
  });
  const running = host.start(command);
  try {
    running.stdin.end(typeof input === 'object' ? input.reveal() : (input ?? ''));
    const passing = [
      pass(running.stdout, (c) => hear(host, 'out', c)),
      pass(running.stderr, (c) => hear(host, 'err', c)),
    ];
    await running.done;
    await Promise.all(passing);
    return outcome({ code: 0 });
  } catch (failure) {
    if (signal.aborted || !(failure instanceof Failure)) throw failure;
    const code = failure instanceof CommandFailure ? failure.code : null;
    return outcome({ failure, ...(code === null ? {} : { code }) });
  }
}

async function pass(stream: Readable, hear: (chunk: Buffer) => void): Promise<void> {
  stream.on('data', hear);
  if (stream.readableEnded || stream.destroyed) return;
  await new Promise((resolve) => stream.once('end', resolve).once('close', resolve));
}
