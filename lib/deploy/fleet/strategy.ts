import { elbv2Client } from '../../aws.ts';
import { checkAll, Failure } from '../../failure.ts';
import type { Host } from '../../host.ts';
import { composeStrategy } from '../compose/strategy.ts';
import type { DeployContext } from '../look.ts';
import { type DeploymentRecord, sameImages } from '../record.ts';
import type { Environment, Prospect, Release, Strategy } from '../strategy.ts';
import { type Member, refuseLastHealthy, targetOf } from './members.ts';
import { rotate } from './rotate.ts';
import { targetGroup } from './target-group.ts';

type FleetSettings = DeployContext['settings'] & { TARGET_GROUP_ARN: string };

/** An app on several hosts behind a load balancer; on each of them it is a compose app. */
export async function fleetStrategy(
  hosts: readonly Host[],
  settings: FleetSettings,
  signal: AbortSignal,
  say: (text: string) => void,
  environment: Environment,
): Promise<Strategy> {
  const client = await elbv2Client(settings.AWS_REGION);
  const group = targetGroup(client, settings.TARGET_GROUP_ARN, signal);
  const uninterrupted = targetGroup(client, settings.TARGET_GROUP_ARN, undefined);
  const targets = await group.targets();
  const members = await all(
    hosts,
    async (host): Promise<Member> => ({
      ...{ host, target: targetOf(host, targets) },
      strategy: await composeStrategy(host, settings, signal, environment),
    }),
  );
  const [first] = members as [Member, ...Member[]];
  const always = environment === 'may differ';
  const rotation = { group, uninterrupted, say, always, timeoutMs: settings.HEALTH_TIMEOUT * 1000 };
  const prospects = async (look: (member: Member) => Promise<Prospect>) => {
    const found = await all(members, look);
    refuseLastHealthy(members, await group.targets());
    return together(members, found);
  };
  return {
    async unfinished() {
      const told = await all(members, async ({ host, strategy }) => {
        const cutOff = await strategy.unfinished();
        return cutOff === undefined ? [] : [`${host.name}: ${cutOff}`];
      });
      const missing = await outside(members, group.targets());
      return [...told.flat(), ...missing].join('; ') || undefined;
    },
    running: async () => agreed(await all(members, ({ strategy }) => strategy.running())),
    preflight: (wanted) => prospects(({ strategy }) => strategy.preflight(wanted)),
    preflightReturn: (release) => prospects(({ strategy }) => strategy.preflightReturn(release)),
    migrate: (release, command, step) => first.strategy.migrate(release, command, step),
    switchTo: (release, who, step) => rotate(members, release, who, rotation, step),
    async postmortem(release) {
      const lines = await all(members, async ({ host, strategy }) => {
        const running = await strategy.running();
        const now = `${host.name} runs ${running?.version ?? 'no whole version'}`;
        return [now, ...(await strategy.postmortem(release)).map((line) => `${host.name} | ${line}`)];
      });
      return lines.flat();
    },
    async records() {
      const found = await all(members, ({ strategy }) => strategy.records());
      return merged(found);
    },
    async record(record) {
      await all(members, ({ strategy }) => strategy.record(record));
    },
    async prune(keep) {
      const removed = await all(members, ({ strategy }) => strategy.prune(keep));
      return removed.reduce((sum, n) => sum + n, 0);
    },
  };
}

/** On all at once; what went wrong on any is told together. */
async function all<M, T>(members: readonly M[], act: (member: M) => Promise<T>): Promise<T[]> {
  const acting = members.map(act);
  await checkAll(acting.map((one) => () => one));
  return Promise.all(acting);
}

/** What all run; undefined when they do not agree. */
export function agreed(running: ReadonlyArray<Release | undefined>): Release | undefined {
  const [first] = running;
  return first && running.every((one) => one && sameImages(one, first)) ? first : undefined;
}

/** The hosts that get no requests: an earlier run took them out, and was killed. */
async function outside(
  members: readonly Member[],
  listed: ReturnType<ReturnType<typeof targetGroup>['targets']>,
) {
  const known = (await listed).map(({ Target }) => Target?.Id);
  return members
    .filter(({ target }) => !known.includes(target.Id))
    .map(({ host }) => `${host.name} is not in the target group; it will be put in`);
}

/** The records of all hosts, each once, oldest first: a host that was added later lacks the first ones. */
export function merged(found: ReadonlyArray<readonly DeploymentRecord[]>): DeploymentRecord[] {
  const byTime = new Map(
    found.flat().map((record) => [`${record.at} ${record.version} ${record.did}`, record]),
  );
  return [...byTime.values()].sort((a, b) => a.at.localeCompare(b.at));
}

/** What was found on each host, as one. @throws Failure when the same name is another image somewhere */
function together(members: readonly Member[], found: readonly Prospect[]): Prospect {
  const [first] = found as [Prospect, ...Prospect[]];
  const on = (pick: (prospect: Prospect) => Prospect['plan']['obtain']) =>
    found.flatMap((one, i) => [`on ${members[i]?.host.name}:`, ...pick(one)]);
  return {
    ...first,
    plan: {
      obtain: on(({ plan }) => plan.obtain),
      migrate: first.plan.migrate,
      switch: members.flatMap(({ host }, i) => [
        `take ${host.name} out of the target group, and wait until it is drained`,
        ...(found[i]?.plan.switch ?? []),
        `put ${host.name} back, and wait until it is healthy`,
      ]),
    },
    async obtain(step) {
      const releases = await all(found, (one) => one.obtain(step));
      const release = agreed(releases);
      if (release) return release;
      throw new Failure(`${first.version} is not the same image on every host: the tag was moved meanwhile`, {
        next: 'name the image by its digest: --image REPOSITORY@sha256:…',
      });
    },
  };
}
