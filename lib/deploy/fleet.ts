import { setTimeout as sleep } from 'node:timers/promises';
import type {
  ElasticLoadBalancingV2Client,
  TargetDescription,
  TargetHealthDescription,
} from '@aws-sdk/client-elastic-load-balancing-v2';
import { awsFailure, elbv2Client } from '../aws.ts';
import { checkAll, Failure, messageOf, Problems } from '../failure.ts';
import { duration } from '../format.ts';
import type { Report, Step } from '../output.ts';
import type { Host } from '../shell.ts';
import { appOnHost } from './compose.ts';
import {
  type AppSettings,
  type DeployedApp,
  type Environment,
  type Plan,
  type Release,
  sameImages,
} from './deployment.ts';

/** One host of a fleet: what runs on it, and where the load balancer sends its requests. */
export interface Member {
  host: Host;
  app: DeployedApp;
  target: TargetDescription;
}

/** An app on several hosts behind a load balancer; on each of them it is a compose app. */
export async function appOnFleet(
  hosts: readonly Host[],
  settings: AppSettings & { TARGET_GROUP_ARN: string },
  signal: AbortSignal,
  report: Pick<Report, 'info'>,
  environment: Environment,
): Promise<DeployedApp> {
  const client = await elbv2Client(settings.AWS_REGION);
  const group = targetGroup(client, settings.TARGET_GROUP_ARN, signal);
  const targets = await group.targets();
  const members = await onAll(
    hosts,
    async (host): Promise<Member> => ({
      ...{ host, target: targetOf(host, targets) },
      app: await appOnHost(host, settings, signal, environment),
    }),
  );
  const [first] = members as [Member, ...Member[]];
  const rotation: Rotation = {
    ...{ group, report, timeoutMs: settings.HEALTH_TIMEOUT * 1000 },
    uninterrupted: targetGroup(client, settings.TARGET_GROUP_ARN, undefined),
    always: environment === 'may differ',
  };
  const planned = async (planOn: (app: DeployedApp) => Promise<Plan>): Promise<Plan> => {
    const plans = await onAll(members, ({ app }) => planOn(app));
    refuseLastHealthy(members, await group.targets());
    return merge(members, plans);
  };
  return {
    async unfinished() {
      const found = await onAll(members, async ({ host, app }) => {
        const unfinished = await app.unfinished();
        return unfinished === undefined ? [] : [`${host.name}: ${unfinished}`];
      });
      return [...found.flat(), ...outside(members, await group.targets())].join('; ') || undefined;
    },
    running: async () => agreed(await onAll(members, ({ app }) => app.running())),
    preflight: (request) => planned((app) => app.preflight(request)),
    preflightRelease: (release) => planned((app) => app.preflightRelease(release)),
    migrate: (release, command, onLine) => first.app.migrate(release, command, onLine),
    switchTo: (release, step) => rotate(members, release, rotation, step),
    async postmortem(release) {
      const lines = await onAll(members, async ({ host, app }) => {
        const running = await app.running();
        const now = `${host.name} runs ${running?.version ?? 'no complete version'}`;
        return [now, ...(await app.postmortem(release)).map((line) => `${host.name} | ${line}`)];
      });
      return lines.flat();
    },
    async records() {
      const all = (await onAll(members, ({ app }) => app.records())).flat();
      // A host that was added later lacks the first ones.
      const unique = new Map(all.map((record) => [`${record.at} ${record.version} ${record.did}`, record]));
      return [...unique.values()].sort((a, b) => a.at.localeCompare(b.at));
    },
    async record(record) {
      await onAll(members, ({ app }) => app.record(record));
    },
    async prune(keep) {
      const removed = await onAll(members, ({ app }) => app.prune(keep));
      return removed.reduce((sum, n) => sum + n, 0);
    },
  };
}

/** On all hosts at once; throws all that went wrong on any, together. */
const onAll = <M, T>(members: readonly M[], act: (member: M) => Promise<T>): Promise<T[]> =>
  checkAll(members.map((member) => () => act(member)));

/** What all run; undefined when they do not agree. */
function agreed(running: ReadonlyArray<Release | undefined>): Release | undefined {
  const [first] = running;
  return first && running.every((one) => one && sameImages(one, first)) ? first : undefined;
}

/** The hosts that get no requests: an earlier run took them out, and was killed. */
function outside(members: readonly Member[], targets: readonly TargetHealthDescription[]): string[] {
  const known = targets.map(({ Target }) => Target?.Id);
  return members
    .filter(({ target }) => !known.includes(target.Id))
    .map(({ host }) => `${host.name} is not in the target group; it will be put in`);
}

/** The plans for each host, as one. @throws Failure when the same name is another image somewhere */
function merge(members: readonly Member[], plans: readonly Plan[]): Plan {
  const [first] = plans as [Plan, ...Plan[]];
  return {
    ...first,
    commands: {
      obtain: plans.flatMap(({ commands }, i) => [`on ${members[i]?.host.name}:`, ...commands.obtain]),
      migrate: first.commands.migrate,
      switch: members.flatMap(({ host }, i) => [
        `take ${host.name} out of the target group, and wait until it is drained`,
        ...(plans[i]?.commands.switch ?? []),
        `put ${host.name} back, and wait until it is healthy`,
      ]),
    },
    async obtain(step) {
      const release = agreed(await onAll(plans, (plan) => plan.obtain(step)));
      if (release) return release;
      throw new Failure(`${first.version} is not the same image on every host: the tag was moved meanwhile`, {
        next: 'name the image by its digest: --image REPOSITORY@sha256:…',
      });
    },
  };
}

export interface Rotation {
  group: TargetGroup;
  /** The same group, whose calls an interruption does not end: a host that was taken out is put back in any case. */
  uninterrupted: TargetGroup;
  timeoutMs: number;
  /** Also a host that has the release is switched: its services may start with another environment. */
  always: boolean;
  report: Pick<Report, 'info'>;
}

/**
 * Host by host: taken out and drained, switched, put back and seen healthy by the load balancer; then the next. A host
 * that has the release already is only put back, unless `always`. Stops at the first that fails.
 */
export async function rotate(
  members: readonly Member[],
  release: Release,
  rotation: Rotation,
  step: Step,
): Promise<void> {
  for (const [i, member] of members.entries()) {
    const started = Date.now();
    const changed = await rotateOne(members, member, release, rotation, step);
    const did = changed ? `runs ${release.version}` : `has ${release.version} already`;
    rotation.report.info(
      `${member.host.name} ${did} (${i + 1} of ${members.length}, ${duration(Date.now() - started)})`,
    );
  }
}

async function rotateOne(
  members: readonly Member[],
  { host, app, target }: Member,
  release: Release,
  { group, uninterrupted, timeoutMs, always, report }: Rotation,
  step: Step,
): Promise<boolean> {
  const running = await app.running();
  const unfinished = await app.unfinished();
  if (!always && running && !unfinished && sameImages(running, release)) {
    await group.putIn(target, timeoutMs);
    return false;
  }
  const targets = await group.targets();
  // One that answers nobody is not missed; of those that do, one has to stay.
  if (healthOf(target, targets)?.State === 'healthy') refuseLastHealthy(members, targets);
  report.info(`${host.name} is taken out of the load balancer, and drained`);
  let failure: unknown;
  try {
    await group.takeOut(target);
    await app.switchTo(release, step);
  } catch (error) {
    failure = error;
    report.info(`${host.name} failed: ${messageOf(error)}; it is put back`);
  }
  // In every case: a host that is out is one less to answer. Whether it is fit the load balancer sees for itself.
  await uninterrupted.putIn(target, failure ? 0 : timeoutMs).catch((error: unknown) => {
    failure ??= error;
  });
  if (failure) throw failure;
  return true;
}

/** How the load balancer finds a target; undefined for one that is not in the group. */
const healthOf = ({ Id }: TargetDescription, targets: readonly TargetHealthDescription[]) =>
  targets.find(({ Target }) => Target?.Id === Id)?.TargetHealth;

/**
 * Refuses what would leave no host to answer: while one is out, another has to be healthy.
 * @throws Problems with each host that is not healthy; Failure for a fleet of one
 */
function refuseLastHealthy(members: readonly Member[], targets: readonly TargetHealthDescription[]): void {
  const healthy = targets.filter(({ TargetHealth }) => TargetHealth?.State === 'healthy');
  const isMember = ({ Target }: TargetHealthDescription) =>
    members.some(({ target }) => target.Id === Target?.Id);
  if (healthy.length >= 2 || !healthy.every(isMember)) return;
  const ill = members.flatMap(({ host, target }) => {
    const { State = 'not in the target group', Description } = healthOf(target, targets) ?? {};
    if (State === 'healthy') return [];
    const why = Description ? ` (${Description})` : '';
    return new Failure(`${host.name} is ${State}${why}`, {
      next: 'make it healthy first: remote status, remote logs',
    });
  });
  const [last] = healthy;
  const what = last
    ? `only ${last.Target?.Id} is healthy for the load balancer: taking it out would leave nobody to answer`
    : 'no host is healthy for the load balancer: there is nobody to answer while hosts change';
  const next = 'have two healthy hosts, or deploy to each by itself without TARGET_GROUP_ARN';
  throw new Problems([new Failure(what, { next }), ...ill]);
}

/**
 * The port on which a host is a target. One that an earlier run took out and did not put back is not in the group any
 * more: it gets the port of the others.
 * @throws Failure when there is nothing to go by
 */
function targetOf(host: Host, targets: readonly TargetHealthDescription[]): TargetDescription {
  const Id = /^ssm:\/\/(.+)$/.exec(host.target)?.[1];
  if (Id === undefined)
    throw new Failure(`${host.name} is not an EC2 instance that SSM reaches, as TARGET_GROUP_ARN needs`, {
      next: 'name the fleet as ssm://tag:Name=… or ssm://i-…',
    });
  const own = targets.find(({ Target }) => Target?.Id === Id)?.Target;
  const Port = own?.Port ?? targets.find(({ Target }) => Target?.Port !== undefined)?.Target?.Port;
  if (Port !== undefined) return { Id, Port };
  throw new Failure(`${host.name} is not in the target group, and no other host has the port`, {
    next: 'register it: aws elbv2 register-targets',
  });
}

/** A target group as a rolling deployment sees it. Targets go by the id of their instance. */
type TargetGroup = ReturnType<typeof targetGroup>;

const POLL_MS = 500;
/** Beyond the delay that the group itself states; the state is reported late. */
const LATE_MS = 60_000;

function targetGroup(
  client: ElasticLoadBalancingV2Client,
  TargetGroupArn: string,
  signal: AbortSignal | undefined,
) {
  const sdk = () => import('@aws-sdk/client-elastic-load-balancing-v2');
  const call = async <T>(name: string, act: () => Promise<T>): Promise<T> => {
    try {
      return await act();
    } catch (error) {
      if (signal?.aborted) throw signal.reason;
      throw awsFailure(error, `elasticloadbalancing:${name}`, TargetGroupArn);
    }
  };
  const pause = () =>
    sleep(POLL_MS, undefined, signal ? { signal } : {}).catch(() => signal?.throwIfAborted());
  const describe = async (...Targets: TargetDescription[]): Promise<TargetHealthDescription[]> => {
    const { DescribeTargetHealthCommand } = await sdk();
    const ask = new DescribeTargetHealthCommand({
      TargetGroupArn,
      ...(Targets.length > 0 ? { Targets } : {}),
    });
    const found = await call('DescribeTargetHealth', () => client.send(ask));
    return found.TargetHealthDescriptions ?? [];
  };
  /** How long a target that was taken out gets to end its requests, in milliseconds. */
  const drainMs = async (): Promise<number> => {
    const { DescribeTargetGroupAttributesCommand } = await sdk();
    const ask = new DescribeTargetGroupAttributesCommand({ TargetGroupArn });
    const { Attributes = [] } = await call('DescribeTargetGroupAttributes', () => client.send(ask));
    const delay = Attributes.find(({ Key }) => Key === 'deregistration_delay.timeout_seconds')?.Value;
    return Number(delay ?? 300) * 1000;
  };
  return {
    targets: () => describe(),
    /** Takes a target out, and waits until its last request was answered. */
    async takeOut(target: TargetDescription): Promise<void> {
      const { DeregisterTargetsCommand } = await sdk();
      const out = new DeregisterTargetsCommand({ TargetGroupArn, Targets: [target] });
      const deadline = Date.now() + (await drainMs()) + LATE_MS;
      await call('DeregisterTargets', () => client.send(out));
      for (; ; await pause()) {
        const state = (await describe(target))[0]?.TargetHealth?.State;
        if (state === undefined || state === 'unused') return;
        if (Date.now() > deadline)
          throw new Failure(
            `${target.Id} is still ${state}, ${duration(LATE_MS)} after its deregistration delay`,
            { next: 'look at the target group; run it again when the target is unused' },
          );
      }
    },
    /** Puts a target in, and waits until the load balancer itself finds it healthy, `timeoutMs` at the most. */
    async putIn(target: TargetDescription, timeoutMs: number): Promise<void> {
      const { RegisterTargetsCommand } = await sdk();
      const put = new RegisterTargetsCommand({ TargetGroupArn, Targets: [target] });
      await call('RegisterTargets', () => client.send(put));
      const deadline = Date.now() + timeoutMs;
      for (; ; await pause()) {
        const { State, Reason, Description } = (await describe(target))[0]?.TargetHealth ?? {};
        if (State === 'healthy') return;
        if (Date.now() <= deadline) continue;
        const why = [State, Reason, Description].filter(Boolean).join(', ');
        throw new Failure(
          `${target.Id}:${target.Port} is not healthy for the load balancer after ${duration(timeoutMs)}: ${why}`,
          { next: "compare the target group's health check with what the app answers on that port" },
        );
      }
    },
  };
}
