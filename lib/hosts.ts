import { performance } from 'node:perf_hooks';
import type { Readable } from 'node:stream';
import { checkAll, EXIT, Failure } from './failure.ts';
import type { Values } from './settings.ts';
import { type Command, CommandFailure, cmd, type Host, type HostOptions, localHost } from './shell.ts';
import type { FanOut, Outcome, SsmHost } from './ssm.ts';
import { selectedBySsm, type Target, type targetSettings } from './target.ts';

/** A host of TARGET that does not answer, and why. */
export interface Unreached {
  name: string;
  failure: Failure;
}

interface Opened {
  hosts: Host[];
  /** Those that do not answer; empty unless the caller can do without them. */
  unreached: Unreached[];
  close(): Promise<void>;
}

/** A host that let us in and ran nothing by then is not going to: its login shell waits for something. */
const ANSWERS_S = 60;

/**
 * The hosts of TARGET, each seen to answer.
 * @param without whether the caller wants those that answer, when others do not
 * @param answersS how long each has for it, in seconds
 * @throws Problems that name each host that does not; Failure when a tag matches nothing
 */
export async function openHosts(
  {
    TARGET,
    SSH_IDENTITY_FILE,
    SSH_KNOWN_HOSTS,
    AWS_REGION,
  }: Values<typeof targetSettings> & { AWS_REGION?: string | undefined },
  options: HostOptions,
  without = false,
  answersS = ANSWERS_S,
): Promise<Opened> {
  const unreached: Unreached[] = [];
  const absent = (name: string, failure: unknown): never[] => {
    if (!without || !(failure instanceof Failure) || failure.exit === EXIT.usage) throw failure;
    unreached.push({ name, failure });
    return [];
  };
  const closes: Array<() => Promise<void>> = [];
  const access = { identityFile: SSH_IDENTITY_FILE, knownHosts: SSH_KNOWN_HOSTS };
  const open = async (target: Target): Promise<Host[]> => {
    if (target.kind === 'local') return [localHost(options)];
    if (target.kind === 'ssm') {
      const { openSsm } = await import('./ssm.ts');
      return openSsm(target, AWS_REGION, options, absent).catch((error) =>
        absent(selectedBySsm(target), error),
      );
    }
    if (target.kind === 'ecs')
      throw new Failure(`ecs://${target.cluster}/${target.service} has no host to run this on`, {
        exit: EXIT.usage,
        next: 'name a host: local, ssh:// or ssm://',
      });
    const { sshHost } = await import('./ssh.ts');
    const withPort =
      TARGET.filter((one) => one.kind === 'ssh' && one.host === target.host && one.user === target.user)
        .length > 1;
    const host = sshHost(target, { ...options, ...access, withPort });
    closes.push(() => host.close());
    try {
      await host.run({ ...cmd`true`, withinS: answersS });
    } catch (error) {
      return absent(host.name, error);
    }
    return [host];
  };
  const close = async () => void (await Promise.all(closes.map((act) => act())));
  try {
    const opening = TARGET.map(open);
    await checkAll(opening.map((opened) => () => opened));
    return { hosts: (await Promise.all(opening)).flat(), unreached, close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** The machine that we run on opens as many connections without trouble, and SSM's own default is 50. */
const AT_ONCE = 50;

/** Runs a command on all hosts, in parallel with a bound, and to the end on each whatever becomes of the others. */
export async function onEach(hosts: readonly Host[], command: Command, options: FanOut): Promise<Outcome[]> {
  const ssm = hosts.filter(isSsm);
  if (!options.live && ssm.length > 1 && ssm.length === hosts.length) {
    const { onInstances } = await import('./ssm.ts');
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
