import { checkAll, EXIT, Failure } from '../failure.ts';
import type { Host, HostOptions } from '../host.ts';
import type { Values } from '../settings.ts';
import type { Target, targetSettings } from '../target.ts';
import { localHost } from './local.ts';

interface Opened {
  hosts: Host[];
  close(): Promise<void>;
}

/**
 * The hosts of TARGET, each seen to answer.
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
): Promise<Opened> {
  const closes: Array<() => Promise<void>> = [];
  const access = { identityFile: SSH_IDENTITY_FILE, knownHosts: SSH_KNOWN_HOSTS };
  const open = async (target: Target): Promise<Host[]> => {
    if (target.kind === 'local') return [localHost(options)];
    if (target.kind === 'ssm') {
      const { openSsm } = await import('./ssm/open.ts');
      return openSsm(target, AWS_REGION, options);
    }
    if (target.kind === 'ecs')
      throw new Failure(`ecs://${target.cluster}/${target.service} has no host to run this on`, {
        exit: EXIT.usage,
        next: 'name a host: local, ssh:// or ssm://',
      });
    const { sshHost } = await import('./ssh.ts');
    const host = sshHost(target, { ...options, ...access });
    closes.push(() => host.close());
    await host.run({ argv: ['true'] });
    return [host];
  };
  const close = async () => void (await Promise.all(closes.map((act) => act())));
  try {
    const opening = TARGET.map(open);
    await checkAll(opening.map((opened) => () => opened));
    return { hosts: (await Promise.all(opening)).flat(), close };
  } catch (error) {
    await close();
    throw error;
  }
}
