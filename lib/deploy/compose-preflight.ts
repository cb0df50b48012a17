import { CommandFailure, cmd } from '../command.ts';
import { dockerFailure, OF_DEPLOYMENTS, projectDirectory } from '../compose.ts';
import { checkAll, EXIT, Failure, throwAll } from '../failure.ts';
import { bytes } from '../format.ts';
import { runForSecret } from '../host-files.ts';
import type { Host } from '../shell.ts';
import { type ComposeApp, imageOf, type Model, type Service, servicesOf } from './compose-app.ts';
import type { Running } from './compose-containers.ts';
import {
  type Engine,
  engineOf,
  type Found,
  findImage,
  localImage,
  obtainImage,
  pullCommand,
} from './compose-image.ts';
import { switchPlan } from './compose-switch.ts';
import type { Pin, Plan, Release } from './deployment.ts';
import { type ImageReference, VALIDATION_LABEL } from './settings.ts';

/** Layers take about so many times their compressed size on the disk. */
const UNPACKED = 3;

const VERSIONS = 'docker compose version --short && docker version --format "{{.Server.Version}}"';

/** @throws Failure that says why Docker or its compose plugin cannot be used on the host */
export async function refuseNoDocker(host: Host): Promise<void> {
  try {
    await host.run(cmd`sh -c ${VERSIONS}`);
  } catch (error) {
    const problem = dockerFailure(error, `${host.name}: `);
    if (problem || !(error instanceof CommandFailure)) throw problem ?? error;
    throw new Failure(
      `${host.name}: ${/unknown/.test(error.words) ? 'docker knows no compose' : error.words}`,
      { next: "install Docker's compose plugin", cause: error },
    );
  }
}

/** @throws Problems when a service cannot have two containers side by side, or nothing shows when they are ready */
export async function refuseUnrollable(
  { settings: { ROLLOUT_SERVICES = [] } }: ComposeApp,
  model: Model,
  pinned: readonly string[],
): Promise<void> {
  await checkAll(
    ROLLOUT_SERVICES.map((name) => () => {
      const service = model.services[name];
      const what = !service
        ? `is not a service; there are ${Object.keys(model.services).sort().join(', ')}`
        : !pinned.includes(name)
          ? `runs ${imageOf(model, name)}, which is not one of IMAGE`
          : unrollable(service);
      if (what === undefined) return;
      throw new Failure(`ROLLOUT_SERVICES: ${name} ${what}`, {
        exit: EXIT.usage,
        next: `take ${name} out of ROLLOUT_SERVICES, or change its definition`,
      });
    }),
  );
}

function unrollable({ ports = [], container_name, network_mode, healthcheck }: Service): string | undefined {
  const port = ports.find(({ published }) => published !== undefined && published !== '');
  if (port) return `has the host's port ${port.published}: two containers cannot share it`;
  if (container_name) return `has container_name ${container_name}: two containers cannot share it`;
  if (network_mode === 'host') return "is on the host's network: two containers cannot share its port";
  if (!healthcheck?.test || healthcheck.disable)
    return 'has no healthcheck: nothing would show when the new container may take requests';
  return undefined;
}

/** @throws Failure when MIGRATE_COMMAND could not run in the new version */
export function refuseNoMigration({ settings }: ComposeApp, pinned: readonly string[]): void {
  const { MIGRATE_COMMAND, APP_SERVICE } = settings;
  if (MIGRATE_COMMAND === undefined || pinned.includes(APP_SERVICE)) return;
  throw new Failure(
    `MIGRATE_COMMAND runs in APP_SERVICE=${APP_SERVICE}, which is not one of ${pinned.join(', ')}`,
    { exit: EXIT.usage, next: 'set APP_SERVICE to the service that has the command' },
  );
}

/** @throws Failure when the disk of Docker has no room for what is to be fetched */
export async function refuseFullDisk(host: Host, { root }: Engine, images: readonly Found[]): Promise<void> {
  const needed = images.reduce((sum, image) => sum + image.bytes, 0) * UNPACKED;
  if (needed === 0) return;
  // Docker may be another machine's: then its folder is not there, and nothing is known of its disk.
  const text = await host.run(cmd`sh -c ${'df -Pk "$1" 2>/dev/null || true'} df ${root}`);
  const free = Number(text.split('\n')[1]?.split(/\s+/)[3] ?? Number.NaN) * 1024;
  if (Number.isNaN(free) || free >= needed) return;
  throw new Failure(
    `${root} on ${host.name} has ${bytes(free)} free, the image needs about ${bytes(needed)}`,
    { next: 'make room: docker image prune (it keeps what runs), or take a larger disk' },
  );
}

/** Every container of some label, and after a record separator the images that can be seen of theirs. */
const WITH_IMAGES = `ids=$(docker ps --all --quiet --no-trunc --filter "label=$1") || exit
[ -n "$ids" ] || { printf '[]\\036[]'; exit 0; }
docker inspect --type container $ids || exit
printf '\\036'
docker inspect --type image $(docker inspect --type container --format '{{.Image}}' $ids | sort -u) 2>/dev/null || true`;

interface Inspected {
  Image: string;
  State: { Running: boolean };
  Config: { Env: string[] | null; Labels: Record<string, string> };
}

const PROJECT = 'com.docker.compose.project';

/**
 * What runs shows which env file and which project name are meant: with others, services would start with the values
 * that compose files have for development, or a second time beside themselves.
 * @throws Problems that name the variables of each service, never their values
 */
export async function refuseOtherEnvironment(app: ComposeApp, model: Model): Promise<void> {
  const all = await containersWith(app, `${PROJECT}=${model.name}`);
  const running = all.filter(({ State }) => State.Running);
  if (running.length === 0) return refuseOtherProject(app, model);
  const changes = new Map<string, Set<string>>();
  for (const { Config, own } of running) {
    const service = Config.Labels['com.docker.compose.service'] ?? '';
    const configured = model.services[service];
    if (!configured || Config.Labels['com.docker.compose.oneoff'] === 'True') continue;
    const names = changedNames(configured.environment ?? {}, Config.Env ?? [], own);
    if (names.length > 0) changes.set(service, (changes.get(service) ?? new Set()).union(new Set(names)));
  }
  throwAll(
    [...changes].map(
      ([service, names]) =>
        new Failure(`${service} would start with another ${[...names].sort().join(', ')} than it runs with`, {
          exit: EXIT.usage,
          next: `correct ${app.envFile}, or name the right env file: SECRETS_FILE; if the change is meant: --new-environment`,
        }),
    ),
  );
}

async function containersWith(app: ComposeApp, label: string) {
  const text = await runForSecret(app.host, cmd`sh -c ${WITH_IMAGES} containers ${label}`);
  const [containers = '[]', images = '[]'] = text.split('\x1e');
  const known = new Map(
    (JSON.parse(images || '[]') as Array<{ Id: string; Config: { Env: string[] | null } }>).map(
      ({ Id, Config }) => [Id, Config.Env ?? []] as const,
    ),
  );
  return (JSON.parse(containers) as Inspected[]).map((one) => ({ ...one, own: known.get(one.Image) }));
}

/**
 * The names whose values differ between what Compose would start and what a container has. A service that reads the
 * app's .env by `env_file:` gets our own pin with it, one deployment late.
 * @param own what the image itself sets; undefined where it is not known: then nothing counts as taken away
 */
export function changedNames(
  configured: Readonly<Record<string, string | null>>,
  has: readonly string[],
  own: readonly string[] | undefined,
): string[] {
  const split = (entry: string) => [entry.replace(/=.*/s, ''), entry.replace(/^[^=]*=?/s, '')] as const;
  const [now, image] = [new Map(has.map(split)), new Map((own ?? has).map(split))];
  // `config` writes every `$` of a value twice.
  const next = Object.entries(configured).flatMap(([name, value]) =>
    value === null ? [] : [[name, value.replaceAll('$$', '$')] as const],
  );
  const different = next.filter(([name, value]) => now.get(name) !== value).map(([name]) => name);
  const gone = [...now].filter(
    ([name, value]) =>
      !next.some(([other]) => other === name) && image.get(name) !== value && !/_proxy$/i.test(name),
  );
  return [...different, ...gone.map(([name]) => name)].filter((name) => name !== OF_DEPLOYMENTS);
}

/** @throws Failure when the app runs by another name of Compose's: it would be started once more beside itself */
async function refuseOtherProject(app: ComposeApp, { name }: Model): Promise<void> {
  // Whoever names it may run several of one directory.
  if (app.settings.COMPOSE_PROJECT_NAME) return;
  const directory = projectDirectory(app.dir, app.settings);
  const there = await containersWith(app, `${PROJECT}.working_dir=${directory}`);
  const other = there.find(({ State, Config }) => State.Running && !(VALIDATION_LABEL in Config.Labels));
  if (!other) return;
  const project = other.Config.Labels[PROJECT];
  throw new Failure(
    `the app of ${directory} runs as the project ${project}, and would start again as ${name}`,
    { exit: EXIT.usage, next: `set COMPOSE_PROJECT_NAME=${project}` },
  );
}

/** Checks everything that an update to images needs. @throws Problems with all that is wrong */
export async function planOf(
  app: ComposeApp,
  model: Model,
  request: { version: string; images: readonly ImageReference[] },
  running: Running,
): Promise<Plan> {
  const engine = await engineOf(app.host);
  const services = servicesOf(model, app.settings.IMAGE);
  const found = new Map<string, Found>();
  await checkAll([
    () => refuseUnrollable(app, model, [...services.keys()]),
    () => refuseNoMigration(app, [...services.keys()]),
    ...request.images.map((image) => async () => {
      const one = await findImage(app, engine, image);
      for (const [service, { registry, repository }] of services)
        if (registry === image.registry && repository === image.repository) found.set(service, one);
    }),
  ]);
  await refuseFullDisk(app.host, engine, [...new Set(found.values())]);
  return planOfImages(app, { version: request.version }, found, running);
}

/** Checks whether a release that ran here can run again: its images have to be on the host. */
export async function planOfRelease(app: ComposeApp, release: Release, running: Running): Promise<Plan> {
  const found = await checkAll(
    Object.entries(release.images).map(([service, { reference, id }]) => async () => {
      const image: Found = { reference, id, bytes: 0 };
      const named = await localImage(app.host, reference);
      if (named?.id === id) return [service, image] as const;
      // A tag that was moved meanwhile is given back to this image.
      if (await localImage(app.host, id)) return [service, { ...image, moved: true }] as const;
      throw new Failure(
        `the image of ${release.version}, ${reference}, is not on ${app.host.name} any more`,
        { next: `deploy it again: update-deployment ${release.version}` },
      );
    }),
  );
  return planOfImages(app, release, new Map(found), running);
}

function planOfImages(
  app: ComposeApp,
  { version, commit }: { version: string; commit?: string },
  found: ReadonlyMap<string, Found>,
  running: Running,
): Plan {
  const named = { version, ...(commit === undefined ? {} : { commit }) };
  const images = [...new Map([...found.values()].map((one) => [one.reference, one])).values()];
  return {
    ...named,
    changes: changesOf(new Map([...found].map(([service, { reference }]) => [service, reference])), running),
    commands: {
      obtain: images.map(({ id, reference }) =>
        id === undefined ? pullCommand(reference) : `${reference} is on the host`,
      ),
      migrate: [],
      switch: switchPlan(app, running),
    },
    async obtain() {
      const pins: Record<string, Pin> = {};
      for (const [service, image] of found) pins[service] = await obtainImage(app, image);
      return { ...named, images: pins };
    },
  };
}

export const changesOf = (names: ReadonlyMap<string, string>, running: Running): Plan['changes'] =>
  [...names].map(([service, next]) => ({
    ...{ service, next },
    now: [...new Set((running.get(service) ?? []).map(({ image }) => image))].join(', ') || 'nothing',
  }));
