import { setTimeout as sleep } from 'node:timers/promises';
import { Failure, messageOf } from '../failure.ts';
import type { Step } from '../output.ts';
import { type Command, CommandFailure, cmd } from '../shell.ts';
import { type ComposeApp, type Model, replicas } from './compose-app.ts';
import {
  awaitHealthy,
  type Container,
  containersOf,
  type Patience,
  removeCommand,
  stateOf,
} from './compose-containers.ts';
import type { Pin, Release } from './deployment.ts';

const HEAD = `# Written by opsbook: the version that runs here. It belongs into COMPOSE_FILE, after the app's own files, so that
# every docker compose command, also the one at boot, runs this version. Not to be edited: deploy, or roll back.
`;

/** The compose file that pins a release: JSON is YAML, and needs no rules of quoting. */
export function pinsFile({ version, commit, images }: Release): string {
  const services = Object.fromEntries(
    Object.entries(images).map(([service, { reference }]) => [service, { image: reference }]),
  );
  const ids = Object.fromEntries(Object.entries(images).map(([service, { id }]) => [service, id]));
  return `${HEAD}${JSON.stringify({ services, 'x-opsbook': { version, commit, ids } }, null, 2)}\n`;
}

/** What {@link pinsFile} wrote; undefined for a file that is empty or none of ours. */
export function parsePins(text: string): Release | undefined {
  const start = text.indexOf('{');
  if (start < 0) return undefined;
  const { services, 'x-opsbook': known } = JSON.parse(text.slice(start)) as {
    services: Record<string, { image: string }>;
    'x-opsbook'?: { version: string; commit?: string; ids: Record<string, string> };
  };
  if (!known) return undefined;
  const images = Object.entries(services).map(([service, { image }]): [string, Pin] => [
    service,
    { reference: image, id: known.ids[service] ?? '' },
  ]);
  return {
    version: known.version,
    ...(known.commit === undefined ? {} : { commit: known.commit }),
    images: Object.fromEntries(images),
  };
}

const RELOAD_MS = 10_000;
const POLL_MS = 50;

/** An nginx that looks the names of services up when it starts, and never again until it is reloaded. */
interface Proxy {
  container: string;
  name: string;
  /** What runs does not depend on it: a reload that fails is told. */
  optional: boolean;
}

/**
 * The proxies of the app that have to be told of new containers of these services. Those that look a name up at each
 * request or connection (Caddy, nginx with a `resolver`), or that listen to Docker (Traefik), find them by themselves.
 * @param told what cannot be done is only told: these services are being brought back, or already run
 * @throws Failure when such a proxy could not be reloaded, because its configuration is not valid
 */
async function proxiesOf(
  app: ComposeApp,
  model: Model,
  services: readonly string[],
  told: boolean,
): Promise<Proxy[]> {
  if (services.length === 0) return [];
  const fronts = Object.keys(model.services).filter(
    (name) => !services.includes(name) && (model.services[name]?.ports ?? []).length > 0,
  );
  const found: Proxy[] = [];
  for (const { id, name, status } of await containersOf(app, model.name, fronts)) {
    if (status !== 'running') continue;
    const configuration = await nginxConfiguration(app, id, name, told);
    const optional = told || configuration === undefined;
    if (configuration === undefined || services.some((service) => namesOnce(configuration, service)))
      found.push({ container: id, name, optional });
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

/** All of an nginx's configuration; empty for what is no nginx, undefined where it cannot be told now. */
async function nginxConfiguration(
  app: ComposeApp,
  id: string,
  name: string,
  told: boolean,
): Promise<string | undefined> {
  try {
    const text =
      'command -v nginx >/dev/null || exit 0; nginx -T 2>/tmp/opsbook-nginx || { cat /tmp/opsbook-nginx >&2; exit 1; }';
    return await app.host.run(cmd`docker exec ${id} sh -c ${text}`);
  } catch (error) {
    if (!(error instanceof CommandFailure)) throw error;
    // A container without a shell has no nginx that we could reload either.
    if (error.code === 126 || error.code === 127) return '';
    if (told || UNRESOLVED.test(error.stderr)) return undefined;
    throw new Failure(`${name} could not be reloaded, its configuration is not valid: ${error.words}`, {
      next: `correct it; docker exec ${name} nginx -t says whether it is`,
      cause: error,
    });
  }
}

/** Lets the proxies look the names up again. @returns what those could not be told that need not be */
async function reloadAll(app: ComposeApp, proxies: readonly Proxy[], signal: AbortSignal): Promise<string[]> {
  const untold: string[] = [];
  for (const { container, name, optional } of proxies)
    try {
      await reload(app, container, signal);
    } catch (error) {
      signal.throwIfAborted();
      if (!optional) throw error;
      untold.push(
        `${name} was not reloaded: ${error instanceof CommandFailure ? error.words : messageOf(error)}`,
      );
    }
  return untold;
}

/** Ends when new workers take the requests. */
async function reload(app: ComposeApp, container: string, signal: AbortSignal): Promise<void> {
  const before = await workers(app, container);
  await app.host.run(cmd`docker exec ${container} nginx -s reload`);
  const deadline = Date.now() + RELOAD_MS;
  while (!(await workers(app, container)).some((pid) => !before.includes(pid))) {
    if (Date.now() > deadline) throw new Failure('nginx did not reload; its log says why');
    await sleep(POLL_MS, undefined, { signal });
  }
}

async function workers(app: ComposeApp, container: string): Promise<string[]> {
  const text = await app.host.run(cmd`docker top ${container} -eo pid,args`);
  return text
    .split('\n')
    .filter((line) => /nginx: worker process\s*$/.test(line))
    .map((line) => line.trim().split(/\s+/)[0] ?? '');
}

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

const tellCommand = (id: string, drain: string): Command => cmd`docker exec ${id} sh -c ${drain}`;
export const drainCommand = (ids: readonly string[]): Command => cmd`docker stop ${ids}`;

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
