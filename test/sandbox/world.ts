import { bloaty } from './apps/bloaty.ts';
import { chitram } from './apps/chitram.ts';
import { type AppWorld, type ComposeApp, describeApp, ensureApp } from './apps/compose-app.ts';
import { awsUrl, ensureAws, insideUrl, registryName } from './cloud/aws.ts';
import { describeHost, ensureHost } from './hosts/host.ts';
import {
  describeHosts,
  ensureHosts,
  type HostsWorld,
  hostImages,
  hostParts,
  leadHostsToRegistry,
} from './hosts/parts.ts';
import { ensureStore } from './hosts/store.ts';
import { ensureImages, type ImageName } from './images/catalogue.ts';
import { dockerConfig, ensureCompose } from './machine/compose.ts';
import { isRunning } from './machine/docker.ts';
import { type Engine, ensureEngine, findEngine } from './machine/engine.ts';
import { withLock } from './machine/lock.ts';
import { containerName, prefix, SandboxError } from './names.ts';
import { ensureNetwork } from './network.ts';
import {
  type CertificatesWorld,
  certificateImages,
  describeCertificates,
  ensureCertificates,
} from './services/certificates.ts';
import {
  describePostgres,
  ensurePostgres,
  type Major,
  majors,
  type PostgresServer,
} from './services/postgres.ts';
import { type Credentials, readState } from './state.ts';

/** What `up` can be asked for; AWS comes with each. */
export const parts = [
  'bloaty',
  'chitram',
  'postgres',
  'postgres15',
  'certificates',
  ...hostParts,
  'aws',
] as const;
export type Part = (typeof parts)[number];

export interface World extends HostsWorld {
  engine: Engine;
  /** `insideUrl` is how hosts and their containers see it; `registry` begins the names of ECR's images */
  aws: { url: string; insideUrl: string; registry: string | undefined; users: Record<string, Credentials> };
  /** servers outside the hosts, by major version */
  postgres: Partial<Record<Major, PostgresServer>>;
  /** DOCKER_CONFIG for this machine, when its docker has no Compose of its own */
  dockerConfig: string | undefined;
  bloaty?: AppWorld;
  chitram?: AppWorld;
  certificates?: CertificatesWorld;
}

const apps = [bloaty, chitram];
const postgresPart: Record<Major, Part> = { 15: 'postgres15', 17: 'postgres' };
const postgresImage: Record<Major, ImageName> = { 15: 'postgres15', 17: 'postgres' };

/** Brings up what is not up yet. Warm it takes some seconds, on a new machine some minutes. */
export async function up(wanted: Part[] = ['bloaty']): Promise<World> {
  const engine = await withLock('engine', async () => {
    const found = await ensureEngine();
    await ensureNetwork(found); // from now on the engine is in use
    return found;
  });
  const withHosts = apps.filter((app) => (wanted as string[]).includes(app.name));
  const servers = majors.filter((major) => wanted.includes(postgresPart[major]));
  const names: ImageName[] = ['moto', ...servers.map((major) => postgresImage[major])];
  // Every part but AWS runs by Compose, and the host's image is where the machine takes the plugin from.
  if (withHosts.length + servers.length > 0) names.push('host');
  names.push(...hostImages(wanted));
  const withCertificates = wanted.includes('certificates');
  if (withCertificates) names.push(...certificateImages);
  const images = await ensureImages(engine, [
    ...names,
    ...withHosts.flatMap((app) => Object.values(app.images)),
  ]);
  if (images.has('host')) await ensureCompose(engine, images.get('host')!);
  const aws = ensureAws(engine, images.get('moto')!);
  await Promise.all([
    aws,
    ensureHosts(engine, wanted, images, aws),
    inTurn(withHosts, (app) => upApp(engine, app, images)),
    withCertificates ? ensureCertificates(engine, images) : undefined,
    inTurn(servers, (major) => ensurePostgres(engine, images.get(postgresImage[major])!, major)),
  ]);
  const withEngines = withHosts.map(({ host }) => containerName(host.name));
  await leadHostsToRegistry(engine, withEngines);
  return describe(engine);
}

async function inTurn<T>(all: T[], run: (one: T) => Promise<void>): Promise<void> {
  for (const one of all) await run(one);
}

async function upApp(engine: Engine, app: ComposeApp, images: Map<ImageName, string>): Promise<void> {
  const image = images.get('host')!;
  const tags = Object.entries(app.images).map(([name, built]) => [name, images.get(built)!]);
  const store = await ensureStore(engine, app.name, image, Object.fromEntries(tags));
  const isNew = await ensureHost(engine, app.host, image, store);
  const host = await describeHost(engine, app.host);
  await ensureApp(engine, app, host!, isNew);
}

async function describe(engine: Engine): Promise<World> {
  const state = readState();
  const postgres: World['postgres'] = {};
  for (const major of majors) {
    const server = await describePostgres(engine, major);
    if (server) postgres[major] = server;
  }
  const world: World = {
    engine,
    aws: {
      url: await awsUrl(engine),
      insideUrl,
      registry: await registryName(engine),
      users: state.awsUsers ?? {},
    },
    postgres,
    dockerConfig: await dockerConfig(engine),
    ...(await describeHosts(engine)),
  };
  for (const app of apps) {
    const host = await describeHost(engine, app.host);
    if (host) world[app.name] = describeApp(app, host);
  }
  const certificates = await describeCertificates(engine);
  if (certificates) world.certificates = certificates;
  return world;
}

/** The running sandbox. @throws SandboxError when none runs */
export async function world(): Promise<World> {
  const engine = await findEngine();
  if (!engine || !(await isRunning(engine, containerName('aws')))) {
    throw new SandboxError(`no sandbox "${prefix}" runs: start it with npm run sandbox`);
  }
  return describe(engine);
}
