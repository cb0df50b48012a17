import { setTimeout as sleep } from 'node:timers/promises';
import { type Command, CommandFailure, cmd } from '../command.ts';
import { Failure, messageOf } from '../failure.ts';
import type { Step } from '../output.ts';
import { type ComposeApp, type Model, replicas } from './compose-app.ts';
import {
  awaitHealthy,
  type Container,
  containersOf,
  type Patience,
  type Running,
  removeCommand,
  stateOf,
} from './compose-containers.ts';
import { pinsFile } from './compose-pin.ts';
import type { Release } from './deployment.ts';

/**
 * `up` for everything that the compose files name; what is as it should be stays. Nothing is removed: what they do not
 * name may be somebody else's, under the same project.
 */
const upCommand = (app: ComposeApp, ...flags: string[]): Command =>
  app.command('deployed.yml', 'up', '--detach', '--quiet-pull', ...flags);

/**
 * New containers of a service beside the old ones, which stay. Not with --no-deps, which saves half a second: they would
 * carry another hash of their configuration, and the next `up` would recreate them.
 */
const besideCommand = (app: ComposeApp, service: string, count: number, how = '--detach'): Command => {
  const scale = ['--scale', `${service}=${count}`, service];
  return app.command('next.yml', 'up', how, '--no-recreate', '--quiet-pull', ...scale);
};

const stopCommand = (ids: readonly string[]): Command => cmd`docker stop ${ids}`;

/** The commands of a switch, as far as they are known before. */
export function switchPlan(app: ComposeApp, running: Running): Command[] {
  const rollout = app.settings.ROLLOUT_SERVICES ?? [];
  const old = rollout.map((service) => (running.get(service) ?? []).map(({ name }) => name));
  return [
    ...rollout.map((service, i) => besideCommand(app, service, 2 * Math.max(1, old[i]?.length ?? 0))),
    app.files.trust,
    ...old.filter((names) => names.length > 0).map(stopCommand),
    upCommand(app),
  ];
}

interface SwitchOptions {
  /** The containers that ran before the change that failed or was cut off, by id: theirs are as they should be. */
  trusted: ReadonlySet<string>;
  /** The release is what ran before that change: what still runs of it is left alone, whatever the files say by now. */
  isRollback: boolean;
}

/** What each part of a switch works on. */
interface Work extends SwitchOptions {
  app: ComposeApp;
  model: Model;
  release: Release;
  /** The services whose new containers start beside the old ones. */
  rollout: readonly string[];
  patience: Patience;
}

/** By service that rolls, the ids of the containers that are as they should be. */
type Right = Map<string, readonly string[]>;

/**
 * Makes the release what runs. Up to the moment in which `next.yml` becomes `deployed.yml` the old version runs
 * and would run again after a reboot; from then on the new one. It may be cut off anywhere, and repeated.
 */
export async function switchTo(
  app: ComposeApp,
  release: Release,
  options: SwitchOptions,
  step: Step,
): Promise<void> {
  const { ROLLOUT_SERVICES: rollout = [], HEALTH_TIMEOUT, HEALTHY_FOR } = app.settings;
  const { signal } = app;
  const patience = { timeoutMs: HEALTH_TIMEOUT * 1000, healthyForMs: HEALTHY_FOR * 1000, signal };
  await app.files.write('next.yml', pinsFile(release));
  const work: Work = { ...options, app, model: await app.model('next.yml'), release, rollout, patience };
  const { isRollback } = work;
  const proxies = await proxiesOf(work, rollout, isRollback);
  const right: Right = new Map();
  let hasStarted = false;
  for (const service of rollout) {
    const { ids, started } = await startBeside(work, service);
    right.set(service, ids);
    hasStarted ||= started;
  }
  await app.files.trustNext();
  // A run that was cut off may have started them, and reloaded nothing.
  const isNews = hasStarted || (!isRollback && (await oldOf(work, rollout, right)).length > 0);
  const warnings = isNews ? await reloadAll(app, proxies) : [];
  if (warnings.length > 0 && !isRollback) await refuseStaleProxy(work, right, warnings);
  let hasRetired = false;
  for (const service of right.keys())
    if (await retire(work, await oldOf(work, [service], right))) hasRetired = true;
  if (hasRetired) warnings.push(...(await reloadAll(app, proxies)));
  warnings.push(...(await recreateOthers(work)));
  if (isRollback) await awaitHealthy(app.host, [...right.values()].flat(), { ...patience, healthyForMs: 0 });
  const how = rollout.length > 0 ? `${rollout.join(', ')} beside the old, others recreated` : 'recreated';
  step.note([how, ...new Set(warnings)].join('; '));
}

/** Those of the services that roll which are to end. */
const oldOf = async ({ app, model }: Work, services: readonly string[], right: Right) =>
  (await containersOf(app, model.name, services)).filter(
    ({ id, service }) => !right.get(service)?.includes(id),
  );

/** @throws Failure where a proxy would go on sending requests to old containers that end */
async function refuseStaleProxy(work: Work, right: Right, warnings: readonly string[]): Promise<void> {
  const old = await oldOf(work, work.rollout, right);
  if (old.some(({ status }) => status === 'running'))
    throw new Failure(`${warnings.join('; ')}, so it knows nothing of the new containers`);
}

/** @returns the containers of the release, and whether some were started for it */
async function startBeside(work: Work, service: string): Promise<{ ids: string[]; started: boolean }> {
  const { app, model, release, isRollback, patience } = work;
  const expected = release.images[service]?.id;
  const before = await containersOf(app, model.name, [service]);
  // What a run that was cut off has left, and what does not run, is in the way of counting.
  const isUseless = (one: Container) =>
    one.status !== 'running' ||
    (one.imageId === expected && one.health?.status === 'unhealthy' && !(isRollback && isTrusted(work, one)));
  const useless = before.filter(isUseless);
  if (useless.length > 0) await app.host.run(removeCommand(useless.map(({ id }) => id)));
  const usable = before.filter((one) => !useless.includes(one));
  const known = usable.filter((one) => isTrusted(work, one));
  const doubtful = isRollback ? [] : usable.filter((one) => one.imageId === expected && !known.includes(one));
  const right = [...known, ...(await asConfigured(work, service, doubtful, usable.length))];
  const missing = Math.max(0, replicas(model.services[service] ?? {}) - right.length);
  if (missing > 0) await app.host.run(besideCommand(app, service, usable.length + missing));
  const fresh = missing > 0 ? await startedSince(work, service, before) : [];
  if (missing > 0 && !fresh.some((one) => one.imageId === expected))
    throw new Failure(
      `docker compose started no container of ${service} with the image of ${release.version}`,
      { next: 'look at them: docker compose ps --all' },
    );
  const ids = [...right, ...fresh].map(({ id }) => id);
  // Those that ran alone have proved themselves.
  const isProved = missing === 0 && right.length === usable.length;
  // In a rollback the new ones are to end, whether the old ones are well or not.
  const waited = isRollback ? fresh.map(({ id }) => id) : ids;
  await awaitHealthy(app.host, waited, isProved ? { ...patience, healthyForMs: 0 } : patience);
  return { ids, started: missing > 0 };
}

const isTrusted = ({ trusted, release }: Work, { id, imageId, service }: Container): boolean =>
  trusted.has(id) && imageId === release.images[service]?.id;

/** The containers of a service that were not there before: that they are new is what is known of them for certain. */
async function startedSince({ app, model }: Work, service: string, before: readonly Container[]) {
  const all = await containersOf(app, model.name, [service]);
  return all.filter(({ id }) => !before.some((one) => one.id === id));
}

/**
 * Those of the running containers that are what Compose would make now. Only Compose knows, and only by making one
 * (`config --hash` leaves `env_file:` out): it is compared, and never started.
 */
async function asConfigured(
  work: Work,
  service: string,
  doubtful: readonly Container[],
  count: number,
): Promise<Container[]> {
  if (doubtful.length === 0) return [];
  const { app, model } = work;
  const before = await containersOf(app, model.name, [service]);
  await app.host.run(besideCommand(app, service, count + 1, '--no-start'));
  const made = await startedSince(work, service, before);
  if (made.length > 0) await app.host.run(removeCommand(made.map(({ id }) => id)));
  return doubtful.filter(({ hash }) => made.some((one) => one.hash === hash));
}

/** Lets the old containers end what they do, by their own stop signal and grace period, and removes them. */
async function retire({ app, trusted }: Work, old: readonly Container[]): Promise<boolean> {
  const { DRAIN_COMMAND: drain } = app.settings;
  const isWell = ({ health }: Container) => health?.status === 'healthy';
  // One that was started for this change and never was healthy got no requests that it could end.
  const serving = old.filter(
    (one) => one.status === 'running' && (isWell(one) || trusted.size === 0 || trusted.has(one.id)),
  );
  const drainOne = async (one: Container, words: string): Promise<void> => {
    try {
      await app.host.run(cmd`docker exec ${one.id} sh -c ${words}`);
    } catch (error) {
      app.signal.throwIfAborted();
      // What is ill may not manage to, and is replaced all the same.
      if (isWell(one) || !(error instanceof CommandFailure)) throw error;
    }
  };
  if (drain) await Promise.all(serving.map((one) => drainOne(one, drain)));
  await stopAndRemove(app, old);
  return old.length > 0;
}

async function stopAndRemove(app: ComposeApp, containers: readonly Container[]): Promise<void> {
  if (containers.length === 0) return;
  const ids = containers.map(({ id }) => id);
  await app.host.run(stopCommand(ids));
  await app.host.run(removeCommand(ids));
}

/** Switches all services that do not roll. @returns a warning for each proxy that could not be reloaded */
async function recreateOthers(work: Work): Promise<string[]> {
  const { app, model, release, rollout, patience, isRollback } = work;
  const services = Object.keys(release.images);
  const ours = (containers: readonly Container[]) =>
    containers.filter(({ service }) => services.includes(service));
  const others = Object.keys(model.services).filter((name) => !rollout.includes(name));
  const before = await containersOf(app, model.name, others);
  if (isRollback)
    await stopAndRemove(
      app,
      ours(before).filter((one) => !isTrusted(work, one)),
    );
  await up(app, model, services, isRollback);
  const now = await containersOf(app, model.name, others);
  await awaitHealthy(
    app.host,
    ours(now).map(({ id }) => id),
    patience,
  );
  const made = now.filter(({ id }) => !before.some((one) => one.id === id)).map(({ service }) => service);
  // A proxy that looked them up before would send requests to an address that is another's by now.
  return reloadAll(app, await proxiesOf(work, [...new Set(made)], true));
}

/** Compose says of a container that it failed, and not why. */
async function up(
  app: ComposeApp,
  model: Model,
  services: readonly string[],
  isRollback: boolean,
): Promise<void> {
  try {
    await app.host.run(upCommand(app, ...(isRollback ? ['--no-recreate'] : [])));
  } catch (error) {
    const state = stateOf(await containersOf(app, model.name, services));
    if (!(error instanceof CommandFailure) || state.is !== 'broken') throw error;
    throw new Failure(state.what, { cause: error });
  }
}

/** An nginx that looks the names of services up when it starts, and never again until it is reloaded. */
interface Proxy {
  id: string;
  name: string;
  /** Nothing that runs depends on it: a reload that fails is a warning. */
  isOptional: boolean;
}

/**
 * The proxies of the app that have to be reloaded for new containers of these services. Those that look a name up at each
 * request or connection (Caddy, nginx with a `resolver`), or that listen to Docker (Traefik), find them by themselves.
 * @param isOptional a reload that fails is a warning: these services are rolled back, or already run
 * @throws Failure when such a proxy could not be reloaded, because its configuration is not valid
 */
async function proxiesOf(
  { app, model }: Work,
  services: readonly string[],
  isOptional: boolean,
): Promise<Proxy[]> {
  if (services.length === 0) return [];
  const fronts = Object.keys(model.services).filter(
    (name) => !services.includes(name) && (model.services[name]?.ports ?? []).length > 0,
  );
  const found: Proxy[] = [];
  for (const { id, name, status } of await containersOf(app, model.name, fronts)) {
    if (status !== 'running') continue;
    const configuration = await nginxConfiguration(app, { id, name, isOptional });
    if (configuration === undefined) found.push({ id, name, isOptional: true });
    else if (services.some((service) => namesOnce(configuration, service)))
      found.push({ id, name, isOptional });
  }
  return found;
}

/** Whether an nginx configuration has the service's name where it is looked up only once. */
export function namesOnce(configuration: string, service: string): boolean {
  const name = service.replaceAll(/[^\w]/g, '\\$&');
  const uses = new RegExp(
    `^\\s*(?:\\w+_pass|server)\\s+(?:\\w+://)?${name}(?:[:/][^;]*)?(?:\\s[^;]*)?;`,
    'gm',
  );
  return (configuration.match(uses) ?? []).some((use) => !/\sresolve\b/.test(use));
}

/** A service that is down has no address; the nginx that names it goes on with the one that it found at its start. */
const UNRESOLVED = /host not found in upstream|could not be resolved/;

/** All of an nginx's configuration; empty where there is no nginx, undefined where it cannot be read now. */
async function nginxConfiguration(
  app: ComposeApp,
  { id, name, isOptional }: Proxy,
): Promise<string | undefined> {
  const text =
    'command -v nginx >/dev/null || exit 0; nginx -T 2>/tmp/opsbook-nginx || { cat /tmp/opsbook-nginx >&2; exit 1; }';
  try {
    return await app.host.run(cmd`docker exec ${id} sh -c ${text}`);
  } catch (error) {
    if (!(error instanceof CommandFailure)) throw error;
    // A container without a shell has no nginx that we could reload either.
    if (error.code === 126 || error.code === 127) return '';
    if (isOptional || UNRESOLVED.test(error.stderr)) return undefined;
    throw new Failure(`${name} could not be reloaded, its configuration is not valid: ${error.words}`, {
      next: `correct it; docker exec ${name} nginx -t says whether it is`,
      cause: error,
    });
  }
}

/** Lets the proxies look the names up again. @returns a warning for each optional one that could not be reloaded */
async function reloadAll(app: ComposeApp, proxies: readonly Proxy[]): Promise<string[]> {
  const warnings: string[] = [];
  for (const { id, name, isOptional } of proxies)
    try {
      await reload(app, id);
    } catch (error) {
      app.signal.throwIfAborted();
      if (!isOptional) throw error;
      const why = error instanceof CommandFailure ? error.words : messageOf(error);
      warnings.push(`${name} was not reloaded: ${why}`);
    }
  return warnings;
}

const RELOAD_MS = 10_000;
const POLL_MS = 50;

/** Ends when new workers take the requests. */
async function reload({ host, signal }: ComposeApp, container: string): Promise<void> {
  const workers = async (): Promise<string[]> => {
    const lines = await host.run(cmd`docker top ${container} -eo pid,args`);
    return [...lines.matchAll(/^\s*(\d+)\s.*nginx: worker process\s*$/gm)].map(([, pid = '']) => pid);
  };
  const before = await workers();
  await host.run(cmd`docker exec ${container} nginx -s reload`);
  const deadline = Date.now() + RELOAD_MS;
  while (!(await workers()).some((pid) => !before.includes(pid))) {
    if (Date.now() > deadline) throw new Failure('nginx did not reload; its log says why');
    await sleep(POLL_MS, undefined, { signal });
  }
}
