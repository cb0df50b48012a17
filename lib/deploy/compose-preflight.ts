import { dockerFailure, OF_DEPLOYMENTS, projectDirectory } from '../compose.ts';
import { checkAll, EXIT, Failure } from '../failure.ts';
import { bytes } from '../format.ts';
import { runForSecret } from '../host-files.ts';
import { type Command, CommandFailure, cmd, type Host } from '../shell.ts';
import { type ComposeApp, imageOf, type Model, type Service, servicesOf } from './compose-app.ts';
import type { Container } from './compose-containers.ts';
import {
  type Caller,
  type Engine,
  engineOf,
  type Found,
  findImage,
  localImage,
  obtainImage,
  pullCommand,
} from './compose-image.ts';
import { LABEL as VALIDATION } from './compose-project.ts';
import { besideCommand, drainCommand, upCommand } from './compose-switch.ts';
import type { Pin, Prospect, Release } from './deployment.ts';
import type { DeploySettings, ImageReference } from './settings.ts';

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

/** @throws Problems when a service cannot have two containers side by side, or nobody could tell when they are ready */
export async function refuseUnrollable(
  model: Model,
  rollout: readonly string[],
  pinned: readonly string[],
): Promise<void> {
  await checkAll(
    rollout.map((name) => () => {
      const next = `take ${name} out of ROLLOUT_SERVICES, or change its definition`;
      const failure = (what: string) =>
        new Failure(`ROLLOUT_SERVICES: ${name} ${what}`, { exit: EXIT.usage, next });
      const service = model.services[name];
      if (!service)
        throw failure(`is no service; there are ${Object.keys(model.services).sort().join(', ')}`);
      if (!pinned.includes(name)) throw failure(`runs ${imageOf(model, name)}, which is none of IMAGE`);
      const reason = unrollable(service);
      if (reason) throw failure(reason);
    }),
  );
}

function unrollable({ ports = [], container_name, network_mode, healthcheck }: Service): string | undefined {
  const port = ports.find(({ published }) => published !== undefined && published !== '');
  if (port) return `has the host's port ${port.published}: two containers cannot share it`;
  if (container_name) return `has container_name ${container_name}: two containers cannot share it`;
  if (network_mode === 'host') return "is on the host's network: two containers cannot share its port";
  if (!healthcheck?.test || healthcheck.disable)
    return 'has no healthcheck: nobody could tell when the new container may take requests';
  return undefined;
}

/** @throws Failure when MIGRATE_COMMAND could not run in the new version */
export function refuseNoMigration(
  { MIGRATE_COMMAND, APP_SERVICE }: Pick<DeploySettings, 'MIGRATE_COMMAND' | 'APP_SERVICE'>,
  pinned: readonly string[],
): void {
  if (MIGRATE_COMMAND === undefined || pinned.includes(APP_SERVICE)) return;
  throw new Failure(
    `MIGRATE_COMMAND runs in APP_SERVICE=${APP_SERVICE}, which is none of ${pinned.join(', ')}`,
    {
      exit: EXIT.usage,
      next: 'set APP_SERVICE to the service that has the command',
    },
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
    {
      next: 'make room: docker image prune (it keeps what runs), or a larger disk',
    },
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
 * What runs tells which env file and which project name are meant: with others, services would start with the values
 * that compose files have for development, or a second time beside themselves.
 * @throws Problems that name the variables of each service, never their values
 */
export async function refuseOtherEnvironment(app: ComposeApp, model: Model): Promise<void> {
  const running = (await containersWith(app, `${PROJECT}=${model.name}`)).filter(
    ({ State }) => State.Running,
  );
  if (running.length === 0) return refuseOtherProject(app, model);
  const changes = new Map<string, Set<string>>();
  for (const { Config, own } of running) {
    const service = Config.Labels['com.docker.compose.service'] ?? '';
    const configured = model.services[service];
    if (!configured || Config.Labels['com.docker.compose.oneoff'] === 'True') continue;
    const names = changedNames(configured.environment ?? {}, Config.Env ?? [], own);
    if (names.length > 0) changes.set(service, (changes.get(service) ?? new Set()).union(new Set(names)));
  }
  const problems = [...changes].map(([service, names]) => () => {
    throw new Failure(
      `${service} would start with another ${[...names].sort().join(', ')} than it runs with`,
      {
        exit: EXIT.usage,
        next: `correct ${app.envFile}, or name the env file that is meant: SECRETS_FILE; where it is meant: --new-environment`,
      },
    );
  });
  await checkAll(problems);
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
  const wanted = Object.entries(configured).flatMap(([name, value]) =>
    value === null ? [] : [[name, value.replaceAll('$$', '$')] as const],
  );
  const different = wanted.filter(([name, value]) => now.get(name) !== value).map(([name]) => name);
  const gone = [...now].filter(
    ([name, value]) =>
      !wanted.some(([other]) => other === name) && image.get(name) !== value && !/_proxy$/i.test(name),
  );
  return [...different, ...gone.map(([name]) => name)].filter((name) => name !== OF_DEPLOYMENTS);
}

/** @throws Failure when the app runs by another name of Compose's: it would be started once more beside itself */
async function refuseOtherProject(app: ComposeApp, { name }: Model): Promise<void> {
  // Whoever names it may run several of one directory.
  if (app.settings.COMPOSE_PROJECT_NAME) return;
  const directory = projectDirectory(app.dir, app.settings);
  const there = await containersWith(app, `${PROJECT}.working_dir=${directory}`);
  const other = there.find(({ State, Config }) => State.Running && !(VALIDATION in Config.Labels));
  if (!other) return;
  const project = other.Config.Labels[PROJECT];
  throw new Failure(
    `the app of ${directory} runs as the project ${project}, and would start again as ${name}`,
    {
      exit: EXIT.usage,
      next: `set COMPOSE_PROJECT_NAME=${project}`,
    },
  );
}

type Running = ReadonlyMap<string, readonly Container[]>;

/** Looks at everything that an update needs. @throws Problems with all that is wrong */
export async function prospectOf(
  app: ComposeApp,
  model: Model,
  settings: DeploySettings,
  wanted: { version: string; images: readonly ImageReference[] },
  running: Running,
  caller: Caller,
): Promise<Prospect> {
  const engine = await engineOf(app.host);
  const services = servicesOf(model, settings.IMAGE);
  const found = new Map<string, Found>();
  await checkAll([
    () => refuseUnrollable(model, settings.ROLLOUT_SERVICES ?? [], [...services.keys()]),
    () => refuseNoMigration(settings, [...services.keys()]),
    ...wanted.images.map((image) => async () => {
      const one = await findImage(app.host, engine, image, caller);
      for (const [service, { registry, repository }] of services)
        if (registry === image.registry && repository === image.repository) found.set(service, one);
    }),
  ]);
  await refuseFullDisk(app.host, engine, [...new Set(found.values())]);
  return prospect(app, settings, { version: wanted.version }, found, running, caller);
}

/** Looks whether a release that ran here can run again: its images have to be on the host, or in their registry. */
export async function prospectOfReturn(
  app: ComposeApp,
  settings: DeploySettings,
  release: Release,
  running: Running,
  caller: Caller,
): Promise<Prospect> {
  const found = new Map<string, Found>();
  await checkAll(
    Object.entries(release.images).map(([service, { reference, id }]) => async () => {
      const named = await localImage(app.host, reference);
      if (named?.id === id) return void found.set(service, { reference, id, bytes: 0 });
      // A tag that has moved since is moved back.
      if (await localImage(app.host, id))
        return void found.set(service, { reference, id, bytes: 0, moved: true });
      throw new Failure(
        `the image of ${release.version}, ${reference}, is not on ${app.host.name} any more`,
        {
          next: `deploy it anew: update-deployment ${release.version}`,
        },
      );
    }),
  );
  return prospect(app, settings, release, found, running, caller);
}

function prospect(
  app: ComposeApp,
  { ROLLOUT_SERVICES: rollout = [] }: DeploySettings,
  { version, commit }: { version: string; commit?: string },
  found: ReadonlyMap<string, Found>,
  running: Running,
  caller: Caller,
): Prospect {
  const named = { version, ...(commit === undefined ? {} : { commit }) };
  const images = [...new Map([...found.values()].map((one) => [one.reference, one])).values()];
  return {
    ...named,
    changes: changesOf(new Map([...found].map(([service, { reference }]) => [service, reference])), running),
    plan: {
      obtain: images.map((one) =>
        one.id === undefined ? pullCommand(one.reference) : `${one.reference} is on the host`,
      ),
      migrate: [],
      switch: switchPlan(app, rollout, running),
    },
    async obtain() {
      const pins: Record<string, Pin> = {};
      for (const [service, image] of found) pins[service] = await obtainImage(app.host, image, caller);
      return { ...named, images: pins };
    },
  };
}

export const changesOf = (names: ReadonlyMap<string, string>, running: Running): Prospect['changes'] =>
  [...names].map(([service, next]) => ({
    ...{ service, next },
    now: [...new Set((running.get(service) ?? []).map(({ image }) => image))].join(', ') || 'nothing',
  }));

/** The commands of a switch, as far as they are known before. */
export function switchPlan(app: ComposeApp, rollout: readonly string[], running: Running): Command[] {
  const old = (service: string) => (running.get(service) ?? []).map(({ name }) => name);
  return [
    ...rollout.map((service) => besideCommand(app, service, 2 * Math.max(1, old(service).length))),
    app.files.move('next.yml', 'deployed.yml'),
    ...rollout.filter((service) => old(service).length > 0).map((service) => drainCommand(old(service))),
    upCommand(app),
  ];
}
