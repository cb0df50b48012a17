import { messageOf } from './failure.ts';
import { duration } from './format.ts';
import { localHost } from './hosts/local.ts';
import { acquire, type Lock } from './lock.ts';
import type { Context } from './script.ts';
import { stateFileOn } from './state.ts';

/** Takes the lock of a run on the host that it works on, and tells whose work was cut off. */
export async function exclude(
  name: string,
  lock: string,
  { settings, report, host, defer }: Context,
): Promise<void> {
  // Here it is no command that --verbose has to tell of; elsewhere it goes by the connection that there is.
  const keeper = host.target === 'local' ? localHost() : host.uninterrupted;
  const held = await acquire(keeper, await stateFileOn(keeper, settings.APP_DIR, `${lock}.lock`), name);
  defer(() => giveBack(held, report));
  if (!held.inherited) return;
  const { script, pid, started } = held.inherited;
  const ago = duration(Date.now() - Date.parse(started));
  report.warn(
    `${script} (process ${pid}, started ${ago} ago) died without finishing; its lock was taken over`,
  );
}

/** Releases a lock; that it was lost on the way, with the connection to its host, does not undo what was done. */
export async function giveBack(held: Lock, report: Pick<Context['report'], 'warn'>): Promise<void> {
  await held.release().catch((error: unknown) => {
    report.warn(
      `the lock was lost on the way, and another run may have worked beside this one: ${messageOf(error)}`,
    );
  });
}
