import { type Command, CommandFailure } from '../../command.ts';
import { Failure } from '../../failure.ts';
import type { Step } from '../../report.ts';
import type { Release } from '../strategy.ts';
import { type ComposeApp, type Model, replicas } from './app.ts';
import { type Container, containersOf, removeCommand } from './containers.ts';
import { awaitHealthy, type Patience, stateOf } from './healthy.ts';
import { pinsFile } from './pins.ts';
import { proxiesOf, reloadAll } from './proxy.ts';

/**
 * `up` for everything that the compose files name; what is as it should be stays. Nothing is removed: what they do not
 * name may be somebody else's, under the same project.
 */
export const upCommand = (app: ComposeApp, ...flags: string[]): Command =>
  app.command('deployed.yml', 'up', '--detach', '--quiet-pull', ...flags);

/**
 * New containers of a service beside the old ones, which stay. Not with --no-deps, which saves half a second: they would
 * carry another hash of their configuration, and the next `up` would recreate them.
 */
export const besideCommand = (app: ComposeApp, service: string, count: number, how = '--detach'): Command => {
  const scale = ['--scale', `${service}=${count}`, service];
  return app.command('next.yml', 'up', how, '--no-recreate', '--quiet-pull', ...scale);
};

export const tellCommand = (id: string, drain: string): Command => ({
  argv: ['docker', 'exec', id, 'sh', '-c', drain],
});
export const drainCommand = (ids: readonly string[]): Command => ({ argv: ['docker', 'stop', ...ids] });

/** What a switch needs to know beside the release. */
export interface Manner {
  rollout: readonly string[];
  patience: Patience;
  /** What an old container runs before it is stopped. */
  drain?: string | undefined;
  /** The containers that ran before the change that failed or was cut off, by id: theirs are as they should be. */
  earlier: ReadonlySet<string>;
  /** The release is what ran before that change: what still runs of it is left alone, whatever the files say by now. */
  back: boolean;
}

/**
 * Makes the release what runs. Up to the moment in which `next.yml` becomes `deployed.yml` the old version runs
 * and would run again after a reboot; from then on the new one. It may be cut off anywhere, and repeated.
 */
export async function switchTo(app: ComposeApp, release: Release, manner: Manner, step: Step): Promise<void> {
  const { rollout, patience, back } = manner;
  await app.files.write('next.yml', pinsFile(release));
  const model = await app.model('next.yml');
  const work: Work = { app, model, release, manner };
  const proxies = await proxiesOf(app, model, rollout, back);
  const right: Right = new Map();
  let changed = false;
  for (const service of rollout) {
    const { ids, started } = await startBeside(work, service);
    right.set(service, ids);
    changed ||= started;
  }
  await app.files.become('next.yml', 'deployed.yml');
  // A run that was cut off may have started them and told nobody.
  const isNews = changed || (!back && (await oldOf(work, rollout, right)).length > 0);
  const untold = isNews ? await reloadAll(app, proxies, patience.signal) : [];
  if (untold.length > 0 && !back) await refuseUntold(work, right, untold);
  let retired = false;
  for (const service of right.keys())
    if (await retire(work, await oldOf(work, [service], right))) retired = true;
  if (retired) untold.push(...(await reloadAll(app, proxies, patience.signal)));
  untold.push(...(await bringAbout(work)));
  if (back) await awaitHealthy(app.host, [...right.values()].flat(), { ...patience, healthyForMs: 0 });
  const how = rollout.length > 0 ? `${rollout.join(', ')} beside the old, others recreated` : 'recreated';
  step.note([how, ...new Set(untold)].join('; '));
}

/** What each part of a switch works on. */
interface Work {
  app: ComposeApp;
  model: Model;
  release: Release;
  manner: Manner;
}

/** By service that rolls, the ids of the containers that are as they should be. */
type Right = Map<string, readonly string[]>;

/** Those of the services that roll which are to end. */
const oldOf = async ({ app, model }: Work, services: readonly string[], right: Right) =>
  (await containersOf(app, model.name, services)).filter(
    ({ id, service }) => !right.get(service)?.includes(id),
  );

/** @throws Failure where a proxy would go on sending requests to old containers that end */
async function refuseUntold(work: Work, right: Right, untold: readonly string[]): Promise<void> {
  const old = await oldOf(work, work.manner.rollout, right);
  if (old.some(({ status }) => status === 'running'))
    throw new Failure(`${untold.join('; ')}, so it knows nothing of the new containers`);
}

/** All services that do not roll. @returns what a proxy could not be told */
async function bringAbout({ app, model, release, manner }: Work): Promise<string[]> {
  const { rollout, patience, back } = manner;
  const services = Object.keys(release.images);
  const all = Object.keys(model.services).filter((name) => !rollout.includes(name));
  const others = async () => containersOf(app, model.name, all);
  const before = await others();
  if (back)
    await clear(
      app,
      before.filter((one) => services.includes(one.service) && !isKept(one, release, manner)),
    );
  await up(app, model, services, back);
  const now = await others();
  await awaitHealthy(
    app.host,
    now.filter(({ service }) => services.includes(service)).map(({ id }) => id),
    patience,
  );
  const made = now.filter(({ id }) => !before.some((one) => one.id === id)).map(({ service }) => service);
  // Whoever asked them before is sent away by an address that is another's by now.
  return reloadAll(app, await proxiesOf(app, model, [...new Set(made)], true), patience.signal);
}

const isKept = ({ id, imageId, service }: Container, release: Release, { earlier }: Manner) =>
  earlier.has(id) && imageId === release.images[service]?.id;

/** Compose says of a container that it failed, and not why. */
async function up(app: ComposeApp, model: Model, services: readonly string[], back: boolean): Promise<void> {
  try {
    await app.host.run(upCommand(app, ...(back ? ['--no-recreate'] : [])));
  } catch (error) {
    const state = stateOf(await containersOf(app, model.name, services));
    if (!(error instanceof CommandFailure) || state.is !== 'broken') throw error;
    throw new Failure(state.what, { cause: error });
  }
}

/** @returns the containers of the release, and whether some were started for it */
async function startBeside(work: Work, service: string): Promise<{ ids: string[]; started: boolean }> {
  const { app, model, release, manner } = work;
  const { back, patience } = manner;
  const wanted = release.images[service]?.id;
  const before = await containersOf(app, model.name, [service]);
  // What a run that was cut off has left, and what does not run, is in the way of counting.
  const isUseless = (one: Container) =>
    one.status !== 'running' ||
    (one.imageId === wanted && one.health?.status === 'unhealthy' && !(back && isKept(one, release, manner)));
  const useless = before.filter(isUseless);
  if (useless.length > 0) await app.host.run(removeCommand(useless.map(({ id }) => id)));
  const usable = before.filter((one) => !useless.includes(one));
  const known = usable.filter((one) => isKept(one, release, manner));
  const doubtful = back ? [] : usable.filter((one) => one.imageId === wanted && !known.includes(one));
  const right = [...known, ...(await asConfigured(work, service, doubtful, usable.length))];
  const missing = Math.max(0, replicas(model.services[service] ?? {}) - right.length);
  if (missing > 0) await app.host.run(besideCommand(app, service, usable.length + missing));
  const fresh = missing > 0 ? await startedSince(app, model, service, before) : [];
  if (missing > 0 && !fresh.some((one) => one.imageId === wanted))
    throw new Failure(
      `docker compose started no container of ${service} with the image of ${release.version}`,
      {
        next: 'look at them: docker compose ps --all',
      },
    );
  const ids = [...right, ...fresh].map(({ id }) => id);
  // Those that ran alone have proved themselves.
  const trust = missing === 0 && right.length === usable.length ? { ...patience, healthyForMs: 0 } : patience;
  // Going back, the new ones are to end whether the old ones are well or not.
  await awaitHealthy(app.host, back ? fresh.map(({ id }) => id) : ids, trust);
  return { ids, started: missing > 0 };
}

/** The containers of a service that were not there before: that they are new is what is known of them for certain. */
async function startedSince(app: ComposeApp, model: Model, service: string, before: readonly Container[]) {
  const all = await containersOf(app, model.name, [service]);
  return all.filter(({ id }) => !before.some((one) => one.id === id));
}

/**
 * Those of the running containers that are what Compose would make now. Only Compose knows, and only by making one
 * (`config --hash` leaves `env_file:` out): it is compared, and never started.
 */
async function asConfigured(
  { app, model }: Work,
  service: string,
  doubtful: readonly Container[],
  count: number,
): Promise<Container[]> {
  if (doubtful.length === 0) return [];
  const before = await containersOf(app, model.name, [service]);
  await app.host.run(besideCommand(app, service, count + 1, '--no-start'));
  const made = await startedSince(app, model, service, before);
  if (made.length > 0) await app.host.run(removeCommand(made.map(({ id }) => id)));
  return doubtful.filter(({ hash }) => made.some((one) => one.hash === hash));
}

/** Lets the old containers end what they do, by their own stop signal and grace period, and removes them. */
async function retire({ app, manner }: Work, old: readonly Container[]): Promise<boolean> {
  const { drain, earlier, patience } = manner;
  const isWell = ({ health }: Container) => health?.status === 'healthy';
  // One that was started for this change and never was healthy got no requests that it could end.
  const serving = old.filter(
    (one) => one.status === 'running' && (isWell(one) || earlier.size === 0 || earlier.has(one.id)),
  );
  const tell = async (one: Container, words: string): Promise<void> => {
    try {
      await app.host.run(tellCommand(one.id, words));
    } catch (error) {
      patience.signal.throwIfAborted();
      // What is ill may not manage to, and is replaced all the same.
      if (isWell(one) || !(error instanceof CommandFailure)) throw error;
    }
  };
  if (drain) await Promise.all(serving.map((one) => tell(one, drain)));
  await clear(app, old);
  return old.length > 0;
}

async function clear(app: ComposeApp, containers: readonly Container[]): Promise<void> {
  if (containers.length === 0) return;
  const ids = containers.map(({ id }) => id);
  await app.host.run(drainCommand(ids));
  await app.host.run(removeCommand(ids));
}
