import { EventEmitter } from 'node:events';
import { performance } from 'node:perf_hooks';
import { PassThrough } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import type { InstanceInformation, SSMClient } from '@aws-sdk/client-ssm';
import { selectedBySsm, type Target } from './app.ts';
import { awsFailure, ssmClient } from './aws.ts';
import type { Command } from './command.ts';
import { checkAll, Failure } from './failure.ts';
import { Secret } from './secret.ts';
import { type Child, type Host, type HostOptions, launch, runToEnd, shellOf } from './shell.ts';
import { type Answer, ask, execute, PEEK, peekScript } from './ssm-delivery.ts';

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

/** An instance that SSM's agent runs commands on, as root. */
export interface SsmHost extends Host {
  readonly instance: string;
  readonly client: SSMClient;
}

function ssmHost(instance: string, name: string, client: SSMClient, options: HostOptions): SsmHost {
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
      throw found ?? new Failure(`${name}: SSM returned nothing about the command`);
    return found;
  };
  const start = (command: Command, act: Act) => {
    onStart?.(command);
    // Its time counts from when the instance takes it up: the agent and `execute` keep it.
    const { withinS: _, ...rest } = command;
    return launch(rest, command.text, () => invocation(act), { ...NO_CHILD, on: name });
  };
  const run: Host['run'] = (command, input) =>
    runToEnd(start(command, async ({ show }) => show(await perform(command, input))));
  return {
    ...{ name, target: `ssm://${instance}`, instance, client, $: shellOf(run), run },
    start: (command) =>
      start(command, async ({ stdin, shown, show }) =>
        // Whoever writes to a stream does not say whether it is secret.
        show(await perform(command, new Secret((await buffer(stdin)).toString('utf8')), shown)),
      ),
    get uninterrupted() {
      return ssmHost(instance, name, client, { onStart });
    },
  };
}

/** SSM ends a command when `perform` is interrupted: there is no process of ours to kill. */
const NO_CHILD = { killAfterMs: 0 };

interface Invocation {
  stdin: PassThrough;
  shown: Shown;
  /** Passes on what of an answer was not shown yet; returns its exit code. */
  show(answer: Answer): number;
}
type Act = (invocation: Invocation) => Promise<number>;

/**
 * A command on an instance, as if it were a process of ours. It starts when its input has ended, since SSM takes none
 * while it runs; its output is passed on while it runs.
 */
function invocation(act: Act): Child {
  const [stdin, out, err] = [new PassThrough(), new PassThrough(), new PassThrough()];
  const shown: Shown = { out, err, outBytes: 0, errBytes: 0 };
  const streams = { stdin, stdout: out, stderr: err };
  const child = Object.assign(new EventEmitter(), { ...streams, kill: () => stdin.destroy() });
  const show = (answer: Answer): number => {
    out.end(answer.out.subarray(shown.outBytes));
    err.end(answer.err.subarray(shown.errBytes));
    return answer.code;
  };
  act({ stdin, shown, show }).then(
    (code) => {
      child.emit('exit', code, null);
      child.emit('close', code, null);
    },
    (error: unknown) => {
      out.end();
      err.end();
      child.emit('exit', null, null);
      child.emit('error', error);
    },
  );
  return child;
}

/**
 * The instances of a target, each of which SSM says it can reach.
 * @param absent is given those that it cannot; what it throws is thrown
 * @throws Failure when there is none; Problems that name each that cannot be reached
 */
export async function openSsm(
  target: Extract<Target, { kind: 'ssm' }>,
  region: string | undefined,
  options: HostOptions,
  absent: (name: string, failure: Failure) => unknown,
): Promise<SsmHost[]> {
  const client = await ssmClient(region);
  const [Key, value] =
    'tag' in target ? [`tag:${target.tag}`, target.value] : ['InstanceIds', target.instance];
  const uri = `ssm://${selectedBySsm(target)}`;
  const found = await instances(client, { Key, Values: [value] }, uri);
  if (found.length === 0)
    throw new Failure(`${uri} matches no instance that is registered with SSM`, {
      next: 'see that it runs, that its role has AmazonSSMManagedInstanceCore, and that AWS_REGION is right',
    });
  const online: InstanceInformation[] = [];
  await checkAll(
    found.map((instance) => () => {
      const failure = absence(instance);
      if (failure) absent(nameOf(instance), failure);
      else online.push(instance);
    }),
  );
  return online
    .map((instance) => ssmHost(instance.InstanceId ?? '', nameOf(instance), client, options))
    .sort((a, b) => a.name.localeCompare(b.name));
}

const nameOf = ({ InstanceId = '', ComputerName }: InstanceInformation) =>
  ComputerName?.split('.')[0] || InstanceId;

async function instances(
  client: SSMClient,
  filter: { Key: string; Values: string[] },
  uri: string,
): Promise<InstanceInformation[]> {
  const { paginateDescribeInstanceInformation } = await import('@aws-sdk/client-ssm');
  const found: InstanceInformation[] = [];
  try {
    for await (const page of paginateDescribeInstanceInformation({ client }, { Filters: [filter] }))
      found.push(...(page.InstanceInformationList ?? []));
  } catch (error) {
    throw awsFailure(error, 'ssm:DescribeInstanceInformation', uri);
  }
  return found;
}

function absence({ InstanceId, PingStatus, LastPingDateTime }: InstanceInformation): Failure | undefined {
  if (PingStatus === 'Online') return undefined;
  const since = LastPingDateTime ? ` since ${LastPingDateTime.toISOString()}` : '';
  return new Failure(`${InstanceId} does not answer SSM (${PingStatus}${since})`, {
    next: 'see that it runs and that its agent does, or name the others with --target',
  });
}

/** As many instances as one SendCommand takes by their ids, and by default runs on at once. */
const PER_COMMAND = 50;

/**
 * Runs a command on instances, spread by SSM itself, and hands over what each answered, and after how many
 * milliseconds, as it ends. Where SSM loses one, nothing is handed over.
 */
export async function runOnInstances(
  hosts: readonly SsmHost[],
  command: Command,
  options: { input: Secret | undefined; signal: AbortSignal },
  onEnd: (host: SsmHost, result: Answer | Failure, ms: number) => void,
): Promise<void> {
  for (let i = 0; i < hosts.length; i += PER_COMMAND) {
    const started = performance.now();
    const batch = new Map(hosts.slice(i, i + PER_COMMAND).map((host) => [host.instance, host]));
    const { client } = hosts[i] as SsmHost;
    await execute(client, [...batch.keys()], { command, ...options }, (instance, result) => {
      const host = batch.get(instance);
      if (host) onEnd(host, result, performance.now() - started);
    });
  }
}
