import { performance } from 'node:perf_hooks';
import { type Command, failureOf } from '../../command.ts';
import { Failure } from '../../failure.ts';
import type { FanOut, Outcome } from '../../fan-out.ts';
import type { Answer } from './answer.ts';
import { execute } from './execute.ts';
import type { SsmHost } from './host.ts';

/** As many instances as one SendCommand takes by their ids. */
const PER_COMMAND = 50;

/** Runs a command on instances, spread by SSM itself: one command for each fifty. */
export async function onInstances(
  hosts: readonly SsmHost[],
  command: Command,
  options: FanOut & { atOnce: number },
): Promise<Outcome[]> {
  const outcomes = new Map<string, Outcome>();
  const batches = Array.from({ length: Math.ceil(hosts.length / PER_COMMAND) }, (_, i) =>
    hosts.slice(i * PER_COMMAND, (i + 1) * PER_COMMAND),
  );
  for (const batch of batches)
    for (const outcome of await onBatch(batch, command, options)) outcomes.set(outcome.host.target, outcome);
  return hosts.map((host) => outcomes.get(host.target) ?? { host, ms: 0, failure: unheard(host) });
}

const unheard = ({ name }: SsmHost) =>
  new Failure(`${name}: SSM told nothing of the command`, {
    next: 'look at it: aws ssm list-command-invocations',
  });

async function onBatch(
  batch: readonly SsmHost[],
  command: Command,
  { input, signal, atOnce, hear }: FanOut & { atOnce: number },
): Promise<Outcome[]> {
  const [first] = batch;
  if (!first) return [];
  const started = performance.now();
  const outcomes: Outcome[] = [];
  const byId = new Map(batch.map((host) => [host.instance, host]));
  // Each host is asked whatever became of the others, as over ssh.
  const limits = { maxConcurrency: atOnce, maxErrors: batch.length };
  await execute(first.client, [...byId.keys()], { command, input, signal, ...limits }, (instance, result) => {
    const host = byId.get(instance);
    if (host)
      outcomes.push({ host, ms: performance.now() - started, ...judged(host, command, result, hear) });
  });
  return outcomes;
}

function judged(
  host: SsmHost,
  command: Command,
  result: Answer | Failure,
  hear: FanOut['hear'],
): Pick<Outcome, 'code' | 'failure'> {
  if (result instanceof Failure) return { failure: result };
  hear(host, 'out', result.out);
  hear(host, 'err', result.err);
  const { code, err } = result;
  const failure = failureOf(command, { code, stderr: err.toString('utf8'), on: host.name });
  return { code, ...(failure ? { failure } : {}) };
}
