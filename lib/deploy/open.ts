import { duration } from '../format.ts';
import type { Host } from '../host.ts';
import { acquire } from '../lock.ts';
import { stateFileOn } from '../state.ts';
import { composeStrategy } from './compose/strategy.ts';
import type { DeployContext } from './look.ts';
import type { Strategy } from './strategy.ts';

/** How the app is deployed where TARGET says that it runs. */
export async function openStrategy({ settings, signal }: DeployContext, host: Host): Promise<Strategy> {
  return composeStrategy(host, settings, signal);
}

/**
 * One deployment at a time: takes the lock on the app's host, under a name that tells others what is done.
 * @throws Failure with exit 75 that names who deploys what, since when
 */
export async function lockDeployment(
  { settings, host, defer, report, dryRun }: DeployContext,
  what: string,
): Promise<void> {
  if (dryRun) return;
  const keeper = host.uninterrupted;
  const held = await acquire(keeper, await stateFileOn(keeper, settings.APP_DIR, 'deploy.lock'), what);
  defer(() => held.release());
  if (!held.inherited) return;
  const { script, pid, started } = held.inherited;
  const ago = duration(Date.now() - Date.parse(started));
  report.warn(
    `${script} (process ${pid}, started ${ago} ago) died without finishing; its lock was taken over`,
  );
}
