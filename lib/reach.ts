import { EXIT, Failure } from './failure.ts';
import type { HostOptions } from './host.ts';
import type { Context, Definition, Flag } from './script.ts';
import type { Settings, Values } from './settings.ts';
import type { targetSettings } from './target.ts';

/**
 * Gives the context the hosts of TARGET, each of which was seen to answer, in place of this machine.
 * @throws Failure with exit 2 when there are more than the script works on
 */
export async function reach(
  { reaches = 'host' }: Definition<Settings, Record<string, Flag<unknown>>>,
  context: Context,
  onStart: HostOptions['onStart'],
): Promise<void> {
  const settings = context.settings as Context['settings'] & Values<typeof targetSettings>;
  if (reaches === 'hosts or service' && settings.TARGET[0]?.kind === 'ecs') return;
  const { openHosts } = await import('./hosts/open.ts');
  const options = { signal: context.signal, onStart };
  const { hosts, unreached, close } = await openHosts(settings, options, reaches === 'hosts that answer');
  context.defer(close);
  if (reaches === 'host' && hosts.length > 1)
    throw new Failure(`TARGET names ${hosts.length} hosts: ${hosts.map(({ target }) => target).join(', ')}`, {
      exit: EXIT.usage,
      next: 'this works on one at a time: name it with --target',
    });
  Object.assign(context, { host: hosts[0], hosts, unreached });
}
