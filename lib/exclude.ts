import { messageOf } from './failure.ts';
import { duration } from './format.ts';
import type { Host } from './host.ts';
import { localHost } from './hosts/local.ts';
import { acquire, type Lock } from './lock.ts';
import type { Context } from './script.ts';
import { stateFileOn } from './state.ts';

/** Takes the lock of a run on the host that it works on, until the run ends. */
export async function exclude(name: string, lock: string, context: Context): Promise<void> {
  const { host } = context;
  // Here it is no command that --verbose has to tell of; elsewhere it goes by the connection that there is.
  await excludeOn(host.target === 'local' ? localHost() : host.uninterrupted, lock, name, context);
}

/**
 * Takes one of the app's locks on a host, until the run ends, and tells whose work was cut off.
 * @param what the name under which others find it held
 * @throws Failure with exit 75 that names the holder, when another run has it
 */
export async function excludeOn(
  host: Host,
  lock: string,
  what: string,
  { settings, report, defer }: Pick<Context, 'settings' | 'report' | 'defer'>,
): Promise<void> {
  const held = await acquire(host, await stateFileOn(host, settings.APP_DIR, `${lock}.lock`), what);
  defer(() => giveBack(held, report));
  if (!held.inherited) return;
  const { script, pid, started } = held.inherited;
  const ago = duration(Date.now() - Date.parse(started));
  report.warn(
    `${script} (process ${pid}, started ${ago} ago) died without finishing; its lock was taken over`,
  );
}

/** Releases a lock; that it was lost on the way, with the connection to its host, does not undo what was done. */
async function giveBack(held: Lock, report: Pick<Context['report'], 'warn'>): Promise<void> {
  await held.release().catch((error: unknown) => {
    report.warn(
      `the lock was lost on the way, and another run may have worked beside this one: ${messageOf(error)}`,
    );
  });
}
