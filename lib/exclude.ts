import { duration } from './format.ts';
import { acquire } from './lock.ts';
import type { Context } from './script.ts';
import { stateFileOn } from './state.ts';

/** Takes the lock of a run on the host that it works on, and tells whose work was cut off. */
export async function exclude(
  name: string,
  lock: string,
  { settings, report, host, defer }: Context,
): Promise<void> {
  const keeper = host.uninterrupted;
  const held = await acquire(keeper, await stateFileOn(keeper, settings.APP_DIR, `${lock}.lock`), name);
  defer(() => held.release());
  if (!held.inherited) return;
  const { script, pid, started } = held.inherited;
  const ago = duration(Date.now() - Date.parse(started));
  report.warn(
    `${script} (process ${pid}, started ${ago} ago) died without finishing; its lock was taken over`,
  );
}
