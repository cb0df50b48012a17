import { hostname } from 'node:os';
import { selectedBySsm, type Target, type targetSettings } from './app.ts';
import { type Command, cmd, shellText, wordsOf } from './command.ts';
import { checkAll, EXIT, Failure } from './failure.ts';
import type { Values } from './settings.ts';
import {
  type Child,
  type Host,
  type HostOptions,
  killGroup,
  launch,
  runToEnd,
  type Spawn,
  shellOf,
  spawn,
} from './shell.ts';

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

const atTerminal = (): boolean => [process.stdin, process.stdout, process.stderr].some(({ isTTY }) => isTTY);

interface LocalOptions extends HostOptions {
  killAfterMs?: number;
}

/** The machine that the script runs on. */
export function localHost({ signal, onStart, killAfterMs = 5_000 }: LocalOptions = {}): Host {
  const start = (command: Command) => {
    signal?.throwIfAborted();
    onStart?.(command);
    const { env, cwd, ...here } = command;
    // A group of its own, to be ended whole, has no terminal: ssh asks for a passphrase on it, and sudo knows its user
    // by it. Where there is one, Ctrl-C reaches all that we started.
    const detached = !atTerminal() && (!command.root || process.getuid?.() === 0);
    const spawnHere: Spawn = (text) =>
      process.platform === 'win32'
        ? spawnOnWindows(command)
        : spawn('/bin/sh', ['-c', text], { env, detached, ...(cwd === undefined ? {} : { cwd }) });
    const end = (child: Child) => (detached ? killGroup(child, 'SIGTERM') : void child.kill());
    // The folder is the process's own: a shell's `cd` would call a linked one by the name of the link.
    const text = shellText({ ...here, ...(env ? { env } : {}) });
    return launch(command, text, spawnHere, { signal, killAfterMs, end });
  };
  const run: Host['run'] = async (command, input) => runToEnd(start(command), input);
  return {
    ...{ name: hostname(), target: 'local', $: shellOf(run), start, run },
    get uninterrupted() {
      return localHost({ onStart });
    },
  };
}

/** Windows has no POSIX shell: the program is started by its words. */
function spawnOnWindows(command: Command): Child {
  const [file = '', ...args] = wordsOf(command);
  return spawn(file, args, command);
}
