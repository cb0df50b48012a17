import { basename, dirname } from 'node:path';
import { EXIT, Failure } from './failure.ts';
import type { HostOptions } from './host.ts';
import { splitShared, typedHostOpsbook } from './host-opsbook.ts';
import type { Context, Definition, Flag } from './script.ts';
import type { Settings, Values } from './settings.ts';
import type { Target, targetSettings } from './target.ts';

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

/**
 * Refuses to work on this machine where the app runs on another: what is here would pass for what is there.
 * @throws Failure with exit 2 that says how to run the same script there
 */
export function refuseElsewhere(name: string, settings: object, uri = ''): void {
  const { TARGET: targets } = settings as { TARGET: readonly Target[] };
  if (targets.every(({ kind }) => kind === 'local')) return;
  const file = process.argv[1] ?? '';
  const { shared, own } = splitShared(process.argv.slice(2));
  const there = typedHostOpsbook(shared, `${basename(dirname(file))}/${basename(file, '.ts')}`, own);
  const next = targets.some(({ kind }) => kind === 'ecs')
    ? 'ECS has no host to run it on; to run it on this machine: --target local'
    : `run it there: ${there}; to run it on this machine all the same: --target local`;
  throw new Failure(`TARGET=${uri} is another machine, and ${name} works on the one that it is started on`, {
    exit: EXIT.usage,
    next,
  });
}
