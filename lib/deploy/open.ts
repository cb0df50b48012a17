import { EXIT, Failure } from '../failure.ts';
import { excludeOn } from '../lock.ts';
import { composeStrategy } from './compose.ts';
import type { Strategy } from './deployment.ts';
import type { DeployContext } from './health.ts';

/**
 * How the app is deployed where TARGET says that it runs: on a host, or on several behind a load balancer.
 * @throws Failure with exit 2 for several hosts without one
 */
export async function openStrategy(
  { settings: given, signal, hosts, report, waitMs, newEnvironment }: DeployContext,
  interruption: 'heeded' | 'uninterrupted' = 'heeded',
): Promise<Strategy> {
  const patience = interruption === 'heeded' ? signal : new AbortController().signal;
  // What is gone back to was trusted before.
  const settings = interruption === 'heeded' ? given : { ...given, HEALTHY_FOR: 0 };
  const asked = newEnvironment ? 'may differ' : 'as it runs';
  const environment = interruption === 'heeded' ? asked : 'as it was';
  const [target, ...more] = settings.TARGET;
  if (target?.kind === 'ecs') {
    if (more.length > 0)
      throw new Failure('TARGET names a service of ECS and something else', {
        exit: EXIT.usage,
        next: 'deploy to one at a time: name it with --target',
      });
    const { ecsStrategy } = await import('./ecs.ts');
    return ecsStrategy(target, settings, patience, report, waitMs);
  }
  const reached = interruption === 'heeded' ? hosts : hosts.map((host) => host.uninterrupted);
  const [host, ...others] = reached;
  if (settings.TARGET_GROUP_ARN) {
    const { fleetStrategy } = await import('./fleet.ts');
    const { TARGET_GROUP_ARN } = settings;
    const say = (text: string) => report.info(text);
    return fleetStrategy(reached, { ...settings, TARGET_GROUP_ARN }, patience, say, environment);
  }
  if (!host || others.length > 0)
    throw new Failure(`TARGET names ${hosts.length} hosts, and nothing tells which of them gets requests`, {
      exit: EXIT.usage,
      next: "set TARGET_GROUP_ARN to the load balancer's target group, or name one host with --target",
    });
  return composeStrategy(host, settings, patience, environment);
}

/**
 * One deployment at a time: takes the lock on each of the app's hosts, under a name that tells others what is done.
 * @throws Failure with exit 75 that names who deploys what, since when
 */
export async function lockDeployment(context: DeployContext, what: string): Promise<void> {
  // A second deployment of a service of ECS is refused by what ECS says of the first.
  if (context.dryRun || context.settings.TARGET[0]?.kind === 'ecs') return;
  // One after the other, and in one order: two that start at the same moment do not each hold a part.
  for (const host of context.hosts) await excludeOn(host.uninterrupted, 'deploy', what, context);
}
