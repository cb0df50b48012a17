import { setTimeout as sleep } from 'node:timers/promises';
import type {
  ElasticLoadBalancingV2Client,
  TargetDescription,
  TargetHealthDescription,
} from '@aws-sdk/client-elastic-load-balancing-v2';
import { awsFailure, elbv2Client } from '../aws.ts';
import { checkAll, Failure, messageOf, Problems } from '../failure.ts';
import { duration } from '../format.ts';
import type { Step } from '../output.ts';
import type { Host } from '../shell.ts';
import { composeStrategy } from './compose.ts';
import {
  type DeploymentRecord,
  type Environment,
  type Prospect,
  type Release,
  type Strategy,
  sameImages,
} from './deployment.ts';
import type { DeployContext } from './health.ts';

/** One host of a fleet: what runs on it, and where the load balancer sends its requests. */
export interface Member {
  host: Host;
  strategy: Strategy;
  target: TargetDescription;
}

/** The id by which a target group knows a host. */
function instanceOf({ target, name }: Host): string {
  const id = /^ssm:\/\/(.+)$/.exec(target)?.[1];
  if (id !== undefined) return id;
  throw new Failure(`${name} is no EC2 instance that SSM reaches, and TARGET_GROUP_ARN has only such`, {
    next: 'name the fleet as ssm://tag:Name=… or ssm://i-…',
  });
}

/**
 * The port on which a host is a target. One that an earlier run took out and did not put back is not in the group any
 * more: it gets the port of the others.
 * @throws Failure when there is nothing to go by
 */
function targetOf(host: Host, targets: readonly TargetHealthDescription[]): TargetDescription {
  const Id = instanceOf(host);
  const own = targets.find(({ Target }) => Target?.Id === Id)?.Target;
  const Port = own?.Port ?? targets.find(({ Target }) => Target?.Port !== undefined)?.Target?.Port;
  if (Port === undefined)
    throw new Failure(`${host.name} is not in the target group, and no other host tells the port`, {
      next: 'register it: aws elbv2 register-targets',
    });
  return { Id, Port };
}

/**
 * Refuses what would leave nobody to answer: while one host is out, another has to be healthy.
 * @throws Problems with each host that is not healthy; Failure for a fleet of one
 */
function refuseLastHealthy(
  members: ReadonlyArray<Pick<Member, 'host' | 'target'>>,
  targets: readonly TargetHealthDescription[],
): void {
  const stateOf = (id: string | undefined) => targets.find(({ Target }) => Target?.Id === id)?.TargetHealth;
  const healthy = targets.filter(({ TargetHealth }) => TargetHealth?.State === 'healthy');
  if (
    healthy.length >= 2 ||
    healthy.some(({ Target }) => !members.some(({ target }) => target.Id === Target?.Id))
  )
    return;
  const ill = members
    .map(({ host, target }) => ({ host, health: stateOf(target.Id) }))
    .filter(({ health }) => health?.State !== 'healthy')
    .map(
      ({ host, health }) =>
        new Failure(
          `${host.name} is ${health?.State ?? 'not in the target group'}${health?.Description ? ` (${health.Description})` : ''}`,
          { next: 'make it healthy first: remote status, remote logs' },
        ),
    );
  throw new Problems([
    new Failure(
      healthy.length === 0
        ? 'no host is healthy for the load balancer: there is nobody to answer while hosts change'
        : `only ${healthy[0]?.Target?.Id} is healthy for the load balancer: taking it out would leave nobody to answer`,
      { next: 'have two healthy hosts, or deploy to each by itself without TARGET_GROUP_ARN' },
    ),
    ...ill,
  ]);
}

/** A target group as a rolling deployment sees it. Targets go by the id of their instance. */
interface TargetGroup {
  readonly arn: string;
  targets(): Promise<TargetHealthDescription[]>;
  /** How long a target that was taken out gets to end its requests, in milliseconds. */
  drainMs(): Promise<number>;
  /** Takes a target out, and waits until its last request was answered. */
  takeOut(target: TargetDescription): Promise<void>;
  /** Puts a target in, and waits until the load balancer itself finds it healthy. */
  putIn(target: TargetDescription, timeoutMs: number): Promise<void>;
}

const POLL_MS = 500;
/** Beyond the delay that the group itself states; the state is told late. */
const LATE_MS = 60_000;

function targetGroup(
  client: ElasticLoadBalancingV2Client,
  arn: string,
  signal: AbortSignal | undefined,
): TargetGroup {
  const call = async <T>(name: string, act: () => Promise<T>): Promise<T> => {
    try {
      return await act();
    } catch (error) {
      if (signal?.aborted) throw signal.reason;
      throw awsFailure(error, `elasticloadbalancing:${name}`, arn);
    }
  };
  const sdk = () => import('@aws-sdk/client-elastic-load-balancing-v2');
  const pause = () =>
    sleep(POLL_MS, undefined, signal ? { signal } : {}).catch(() => signal?.throwIfAborted());
  const look = async (target: TargetDescription): Promise<TargetHealthDescription | undefined> => {
    const { DescribeTargetHealthCommand } = await sdk();
    const ask = new DescribeTargetHealthCommand({ TargetGroupArn: arn, Targets: [target] });
    const found = await call('DescribeTargetHealth', () => client.send(ask));
    return found.TargetHealthDescriptions?.[0];
  };
  const group: TargetGroup = {
    arn,
    async targets() {
      const { DescribeTargetHealthCommand } = await sdk();
      const ask = new DescribeTargetHealthCommand({ TargetGroupArn: arn });
      const found = await call('DescribeTargetHealth', () => client.send(ask));
      return found.TargetHealthDescriptions ?? [];
    },
    async drainMs() {
      const { DescribeTargetGroupAttributesCommand } = await sdk();
      const ask = new DescribeTargetGroupAttributesCommand({ TargetGroupArn: arn });
      const { Attributes = [] } = await call('DescribeTargetGroupAttributes', () => client.send(ask));
      const delay = Attributes.find(({ Key }) => Key === 'deregistration_delay.timeout_seconds')?.Value;
      return Number(delay ?? 300) * 1000;
    },
    async takeOut(target) {
      const { DeregisterTargetsCommand } = await sdk();
      const out = new DeregisterTargetsCommand({ TargetGroupArn: arn, Targets: [target] });
      const deadline = Date.now() + (await group.drainMs()) + LATE_MS;
      await call('DeregisterTargets', () => client.send(out));
      for (let state: string | undefined; ; await pause()) {
        state = (await look(target))?.TargetHealth?.State;
        if (state === undefined || state === 'unused') return;
        if (Date.now() > deadline)
          throw new Failure(
            `${target.Id} is still ${state}, ${duration(LATE_MS)} after its deregistration delay`,
            {
              next: 'look at the target group; run it again when the target is unused',
            },
          );
      }
    },
    async putIn(target, timeoutMs) {
      const { RegisterTargetsCommand } = await sdk();
      const put = new RegisterTargetsCommand({ TargetGroupArn: arn, Targets: [target] });
      await call('RegisterTargets', () => client.send(put));
      const deadline = Date.now() + timeoutMs;
      for (let found: TargetHealthDescription | undefined; ; await pause()) {
        found = await look(target);
        if (found?.TargetHealth?.State === 'healthy') return;
        if (Date.now() > deadline) throw unhealthy(target, found, timeoutMs);
      }
    },
  };
  return group;
}

function unhealthy(
  target: TargetDescription,
  found: TargetHealthDescription | undefined,
  waited: number,
): Failure {
  const { State, Reason, Description } = found?.TargetHealth ?? {};
  const why = [State, Reason, Description].filter(Boolean).join(', ');
  return new Failure(
    `${target.Id}:${target.Port} is not healthy for the load balancer after ${duration(waited)}: ${why}`,
    {
      next: "compare the target group's health check with what the app answers on that port",
    },
  );
}

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
function agreed(running: ReadonlyArray<Release | undefined>): Release | undefined {
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
function merged(found: ReadonlyArray<readonly DeploymentRecord[]>): DeploymentRecord[] {
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
