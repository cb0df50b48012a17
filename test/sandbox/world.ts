import { rm } from 'node:fs/promises';
import { awsUrl, ensureAws } from './cloud/aws.ts';
import { ensureImages, type ImageName } from './images/catalogue.ts';
import { docker, isRunning } from './machine/docker.ts';
import { type Engine, ensureEngine, findEngine, stopIfUnused } from './machine/engine.ts';
import { withLock } from './machine/lock.ts';
import { containerName, label, prefix, SandboxError, stateDir } from './names.ts';
import { ensureNetwork } from './network.ts';
import { step } from './progress.ts';
import { ensurePostgres, postgresUrl } from './services/postgres.ts';
import { type Credentials, readState } from './state.ts';

/** What `up` can be asked for; AWS is always there. */
export const parts = ['postgres'] as const;
export type Part = (typeof parts)[number];

export interface World {
  engine: Engine;
  aws: { url: string; users: Record<string, Credentials> };
  /** URL of the server outside the hosts, by major version */
  postgres: Record<number, string>;
}

const imagesOf: Record<Part, ImageName[]> = { postgres: ['postgres'] };

/** Brings up what is not up yet. Warm it takes some seconds, on a new machine some minutes. */
export async function up(wanted: Part[] = []): Promise<World> {
  const engine = await withLock('engine', async () => {
    const found = await ensureEngine();
    await ensureNetwork(found); // from now on the engine is in use
    return found;
  });
  const images = await ensureImages(engine, ['moto', ...wanted.flatMap((part) => imagesOf[part])]);
  await ensureAws(engine, images.get('moto')!);
  if (wanted.includes('postgres')) await ensurePostgres(engine, images.get('postgres')!, 17);
  return describe(engine);
}

async function describe(engine: Engine): Promise<World> {
  const state = readState();
  const postgres: Record<number, string> = {};
  for (const major of [17]) {
    const url = await postgresUrl(engine, major);
    if (url) postgres[major] = url;
  }
  return { engine, aws: { url: await awsUrl(engine), users: state.awsUsers ?? {} }, postgres };
}

/** The running sandbox. @throws SandboxError when none runs */
export async function world(): Promise<World> {
  const engine = await findEngine();
  if (!engine || !(await isRunning(engine, containerName('aws')))) {
    throw new SandboxError(`no sandbox "${prefix}" runs: start it with npm run sandbox`);
  }
  return describe(engine);
}

/** Removes all that `up` made, except the cache of images. */
export async function down(): Promise<void> {
  await withLock('engine', async () => {
    const engine = await findEngine();
    if (engine) {
      await step(`removing the sandbox "${prefix}"`, () => removeAll(engine));
      await stopIfUnused(engine);
    }
    await rm(stateDir, { recursive: true, force: true });
  });
}

async function removeAll(engine: Engine): Promise<void> {
  const ours = ['--filter', `label=${label}=${prefix}`];
  const lines = (text: string): string[] => text.split('\n').filter(Boolean);
  const containers = lines(await docker(engine, ['ps', '-aq', ...ours]));
  if (containers.length > 0) await docker(engine, ['rm', '--force', '--volumes', ...containers]);
  const networks = lines(await docker(engine, ['network', 'ls', '-q', ...ours]));
  if (networks.length > 0) await docker(engine, ['network', 'rm', ...networks]);
  const volumes = lines(await docker(engine, ['volume', 'ls', '-q', ...ours]));
  if (volumes.length > 0) await docker(engine, ['volume', 'rm', ...volumes]);
}
