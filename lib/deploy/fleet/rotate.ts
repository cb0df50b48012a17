import { messageOf } from '../../failure.ts';
import { duration } from '../../format.ts';
import type { Step } from '../../report.ts';
import { sameImages } from '../record.ts';
import type { Release } from '../strategy.ts';
import { type Member, refuseLastHealthy } from './members.ts';
import type { TargetGroup } from './target-group.ts';

export interface Rotation {
  group: TargetGroup;
  /** The same group, whose calls an interruption does not end: a host that was taken out is put back in any case. */
  uninterrupted: TargetGroup;
  timeoutMs: number;
  /** Also a host that has the release is switched: its services may start with another environment. */
  always: boolean;
  /** Hears how far it is. */
  say: (text: string) => void;
}

/**
 * Host by host: taken out and drained, switched, put back and seen healthy by the load balancer; then the next. A host
 * that has the release already is only put back, unless `always`. Stops at the first that fails.
 */
export async function rotate(
  members: readonly Member[],
  release: Release,
  who: string,
  rotation: Rotation,
  step: Step,
): Promise<void> {
  for (const [i, member] of members.entries()) {
    const started = Date.now();
    const changed = await rotateOne(members, member, release, who, rotation, step);
    const did = changed ? `runs ${release.version}` : `has ${release.version} already`;
    rotation.say(
      `${member.host.name} ${did} (${i + 1} of ${members.length}, ${duration(Date.now() - started)})`,
    );
  }
}

async function rotateOne(
  members: readonly Member[],
  { host, strategy, target }: Member,
  release: Release,
  who: string,
  { group, uninterrupted, timeoutMs, always, say }: Rotation,
  step: Step,
): Promise<boolean> {
  const running = await strategy.running();
  const cutOff = await strategy.unfinished();
  if (!always && running && !cutOff && sameImages(running, release)) {
    await group.putIn(target, timeoutMs);
    return false;
  }
  const targets = await group.targets();
  const state = targets.find(({ Target }) => Target?.Id === target.Id)?.TargetHealth?.State;
  // One that answers nobody is not missed; of those that do, one has to stay.
  if (state === 'healthy') refuseLastHealthy(members, targets);
  say(`${host.name} is taken out of the load balancer, and drained`);
  let failure: unknown;
  try {
    await group.takeOut(target);
    await strategy.switchTo(release, who, step);
  } catch (error) {
    failure = error;
    say(`${host.name} failed: ${messageOf(error)}; it is put back`);
  }
  // In every case: a host that is out is one less to answer. Whether it is fit the load balancer sees for itself.
  await uninterrupted.putIn(target, failure ? 0 : timeoutMs).catch((error: unknown) => {
    failure ??= error;
  });
  if (failure) throw failure;
  return true;
}
