import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from '../../command.ts';
import { compose, parseListing } from '../../compose.ts';
import { Failure } from '../../failure.ts';
import type { Host } from '../../host.ts';
import type { RemoteContext } from './remote.ts';

/** What restarts and is not healthy by then is not going to be. */
const PATIENCE_MS = 120_000;
const POLL_MS = 500;

/** Restarts services host by host, each seen healthy before the next, so that a fleet goes on answering. */
export async function restart(
  context: RemoteContext,
  command: Command,
  services: readonly string[],
): Promise<void> {
  const { hosts, report, settings, signal } = context;
  for (const host of hosts) {
    const title = `restart ${services.join(', ') || 'all services'} on ${host.name}`;
    await report.step(title, async () => {
      await host.run(command);
      const list = compose(host, settings.APP_DIR, settings).command(
        'ps',
        '--all',
        '--format',
        'json',
        ...services,
      );
      await untilWell(host, list, signal);
    });
  }
}

async function untilWell(host: Host, list: Command, signal: AbortSignal): Promise<void> {
  const deadline = Date.now() + PATIENCE_MS;
  for (;;) {
    const containers = parseListing(await host.run(list));
    // One that ended well had nothing more to do: an initialisation.
    const waiting = containers.filter(
      ({ State, Health, ExitCode }) =>
        (State !== 'running' || (Health && Health !== 'healthy')) && !(State === 'exited' && ExitCode === 0),
    );
    if (waiting.length === 0) return;
    if (Date.now() > deadline) {
      const states = waiting.map(({ Service, State, Health }) => `${Service} is ${Health || State}`);
      throw new Failure(`${host.name}: ${states.join(', ')}`, {
        next: `look at it: remote logs ${waiting[0]?.Service}`,
      });
    }
    await sleep(POLL_MS, undefined, { signal }).catch(() => signal.throwIfAborted());
  }
}
