import { selectedBySsm, type Target, type targetSettings } from './app.ts';
import { checkAll, EXIT, Failure } from './failure.ts';
import type { Values } from './settings.ts';
import { cmd, type Host, type HostOptions, localHost } from './shell.ts';

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
