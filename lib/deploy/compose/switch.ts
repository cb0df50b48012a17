import type { Command } from '../../command.ts';
import type { Step } from '../../report.ts';
import type { Release } from '../strategy.ts';
import { type ComposeApp, type Model, replicas } from './app.ts';
import { awaitHealthy, type Container, containersOf } from './containers.ts';
import { pinsFile } from './pins.ts';

export interface Patience {
  timeoutMs: number;
  healthyForMs: number;
  signal: AbortSignal;
}

/** `up` for everything that the compose files name; what is as it should be stays. */
export const upCommand = (app: ComposeApp): Command =>
  app.command('deployed.yml', 'up', '--detach', '--quiet-pull', '--remove-orphans');

/** New containers of a service beside the old ones, which stay. */
export const besideCommand = (app: ComposeApp, service: string, count: number): Command =>
  app.command(
    'next.yml',
    'up',
    '--detach',
    '--no-recreate',
    '--quiet-pull',
    '--scale',
    `${service}=${count}`,
    service,
  );

export const drainCommand = (ids: readonly string[]): Command => ({ argv: ['docker', 'stop', ...ids] });
export const removeCommand = (ids: readonly string[]): Command => ({
  argv: ['docker', 'rm', '--force', ...ids],
});

/**
 * Makes the release what runs. Up to the moment in which `next.yml` becomes `deployed.yml` the old version runs
 * and would run again after a reboot; from then on the new one. It may be cut off anywhere, and repeated.
 */
export async function switchTo(
  app: ComposeApp,
  release: Release,
  rollout: readonly string[],
  patience: Patience,
  step: Step,
): Promise<void> {
  await app.files.write('next.yml', pinsFile(release));
  const model = await app.model('next.yml');
  const hashes = await hashesOf(app);
  const isNew = (one: Container) => one.hash === hashes.get(one.service);
  for (const service of rollout) {
    step.note(`${service}: starting new beside old`);
    await startBeside(app, model, service, isNew, patience);
  }
  await app.host.run(app.files.move('next.yml', 'deployed.yml'));
  for (const service of rollout) await retire(app, model, service, isNew);
  await app.host.run(upCommand(app));
  const services = Object.keys(release.images);
  const running = await containersOf(app, model.name, services);
  const others = running.filter(({ service }) => !rollout.includes(service));
  await awaitHealthy(
    app.host,
    others.map(({ id }) => id),
    patience,
  );
}

/** Compose's hash of the configuration of each service, as containers carry it that were made with `next.yml`. */
async function hashesOf(app: ComposeApp): Promise<Map<string, string>> {
  const text = await app.host.run(app.command('next.yml', 'config', '--hash', '*'));
  const pairs = text
    .split('\n')
    .filter(Boolean)
    .map((line) => line.trim().split(/\s+/) as [string, string]);
  return new Map(pairs);
}

async function startBeside(
  app: ComposeApp,
  model: Model,
  service: string,
  isNew: (one: Container) => boolean,
  patience: Patience,
): Promise<void> {
  const before = await containersOf(app, model.name, [service]);
  // What a run that was cut off has left, and that does not run, is in the way of counting.
  const broken = before.filter(
    (one) => one.status !== 'running' || (isNew(one) && one.health?.status === 'unhealthy'),
  );
  if (broken.length > 0) await app.host.run(removeCommand(broken.map(({ id }) => id)));
  const usable = before.filter((one) => !broken.includes(one));
  const missing = replicas(model.services[service] ?? {}) - usable.filter(isNew).length;
  if (missing > 0) await app.host.run(besideCommand(app, service, usable.length + missing));
  const fresh = (await containersOf(app, model.name, [service])).filter(isNew);
  await awaitHealthy(
    app.host,
    fresh.map(({ id }) => id),
    patience,
  );
}

/** Lets the old containers end what they do, by their own stop signal and grace period, and removes them. */
async function retire(
  app: ComposeApp,
  model: Model,
  service: string,
  isNew: (one: Container) => boolean,
): Promise<void> {
  const old = (await containersOf(app, model.name, [service])).filter((one) => !isNew(one));
  if (old.length === 0) return;
  const ids = old.map(({ id }) => id);
  await app.host.run(drainCommand(ids));
  await app.host.run(removeCommand(ids));
}
