import { type Command, CommandFailure } from '../../command.ts';
import { Failure } from '../../failure.ts';
import type { Step } from '../../report.ts';
import type { Release } from '../strategy.ts';
import { type ComposeApp, type Model, replicas } from './app.ts';
import { type Container, containersOf, removeCommand } from './containers.ts';
import { awaitHealthy, type Patience, stateOf } from './healthy.ts';
import { pinsFile } from './pins.ts';
import { proxiesOf, reload } from './proxy.ts';

/**
 * `up` for everything that the compose files name; what is as it should be stays. Nothing is removed: what they do not
 * name may be somebody else's, under the same project.
 */
export const upCommand = (app: ComposeApp): Command =>
  app.command('deployed.yml', 'up', '--detach', '--quiet-pull');

/**
 * New containers of a service beside the old ones, which stay. Not with --no-deps, which saves half a second: they would
 * carry another hash of their configuration, and the next `up` would recreate them.
 */
export const besideCommand = (app: ComposeApp, service: string, count: number): Command => {
  const scale = ['--scale', `${service}=${count}`, service];
  return app.command('next.yml', 'up', '--detach', '--no-recreate', '--quiet-pull', ...scale);
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
}

/**
 * Makes the release what runs. Up to the moment in which `next.yml` becomes `deployed.yml` the old version runs
 * and would run again after a reboot; from then on the new one. It may be cut off anywhere, and repeated.
 */
export async function switchTo(app: ComposeApp, release: Release, manner: Manner, step: Step): Promise<void> {
  const { rollout, patience } = manner;
  await app.files.write('next.yml', pinsFile(release));
  const [model, hashes] = await Promise.all([app.model('next.yml'), hashesOf(app)]);
  const isNew = ({ service, hash, imageId }: Container) =>
    hash === hashes.get(service) && imageId === release.images[service]?.id;
  const proxies = await proxiesOf(app, model, rollout);
  const started = await inTurn(rollout, (service) => startBeside(app, model, service, isNew, patience));
  await app.files.become('next.yml', 'deployed.yml');
  if (started) await reload(app, proxies, patience.signal);
  const retired = await inTurn(rollout, (service) => retire(app, model, service, isNew, manner.drain));
  if (retired) await reload(app, proxies, patience.signal);
  const services = Object.keys(release.images);
  await up(app, model, services);
  const running = await containersOf(app, model.name, services);
  const others = running.filter(({ service }) => !rollout.includes(service));
  await awaitHealthy(
    app.host,
    others.map(({ id }) => id),
    patience,
  );
  step.note(rollout.length > 0 ? `${rollout.join(', ')} beside the old, others recreated` : 'recreated');
}

/** Compose says of a container that it failed, and not why. */
async function up(app: ComposeApp, model: Model, services: readonly string[]): Promise<void> {
  try {
    await app.host.run(upCommand(app));
  } catch (error) {
    const state = stateOf(await containersOf(app, model.name, services));
    if (!(error instanceof CommandFailure) || state.is !== 'broken') throw error;
    throw new Failure(state.what, { cause: error });
  }
}

/** Does it for one service after the other. @returns whether something was changed */
async function inTurn(
  services: readonly string[],
  act: (service: string) => Promise<boolean>,
): Promise<boolean> {
  let changed = false;
  for (const service of services) if (await act(service)) changed = true;
  return changed;
}

/** Compose's hash of the configuration of each service, as containers carry it that were made with `next.yml`. */
async function hashesOf(app: ComposeApp): Promise<Map<string, string>> {
  const text = await app.host.run(app.command('next.yml', 'config', '--hash', '*'));
  return new Map(
    text
      .split('\n')
      .filter(Boolean)
      .map((line) => line.trim().split(/\s+/) as [string, string]),
  );
}

async function startBeside(
  app: ComposeApp,
  model: Model,
  service: string,
  isNew: (one: Container) => boolean,
  patience: Patience,
): Promise<boolean> {
  const before = await containersOf(app, model.name, [service]);
  // What a run that was cut off has left, and what does not run, is in the way of counting.
  const useless = before.filter(
    (one) => one.status !== 'running' || (isNew(one) && one.health?.status === 'unhealthy'),
  );
  if (useless.length > 0) await app.host.run(removeCommand(useless.map(({ id }) => id)));
  const usable = before.filter((one) => !useless.includes(one));
  const missing = replicas(model.services[service] ?? {}) - usable.filter(isNew).length;
  if (missing > 0) await app.host.run(besideCommand(app, service, usable.length + missing));
  const fresh = (await containersOf(app, model.name, [service])).filter(isNew);
  if (fresh.length === 0)
    throw new Failure(`docker compose started no container of ${service} that is as the compose files say`, {
      next: 'look at them: docker compose ps --all',
    });
  // Those that ran alone have proved themselves.
  const trust = usable.every(isNew) && missing <= 0 ? { ...patience, healthyForMs: 0 } : patience;
  await awaitHealthy(
    app.host,
    fresh.map(({ id }) => id),
    trust,
  );
  return missing > 0;
}

/** Lets the old containers end what they do, by their own stop signal and grace period, and removes them. */
async function retire(
  app: ComposeApp,
  model: Model,
  service: string,
  isNew: (one: Container) => boolean,
  drain: string | undefined,
): Promise<boolean> {
  const old = (await containersOf(app, model.name, [service])).filter((one) => !isNew(one));
  if (old.length === 0) return false;
  const ids = old.map(({ id }) => id);
  if (drain) await Promise.all(ids.map((id) => app.host.run(tellCommand(id, drain))));
  await app.host.run(drainCommand(ids));
  await app.host.run(removeCommand(ids));
  return true;
}
