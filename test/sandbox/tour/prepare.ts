import { exports } from '../env.ts';
import type { Droplet } from '../hosts/droplet.ts';
import { ensureImages, type ImageName } from '../images/catalogue.ts';
import type { World } from '../world.ts';
import { startAuthority } from './authority.ts';
import { emptyCloud } from './cloud.ts';
import { bareDroplet, placeDownloads, placeImages } from './droplet.ts';
import { imageOf, makeRepository, siteSettings } from './site.ts';

interface Prepared {
  world: World & { droplet: Droplet };
  /** The directory of the app's repository. */
  repository: string;
  /** The exports of the sandbox, and the settings of the app. */
  sandbox: Record<string, string>;
  env: Record<string, string>;
  pullFromHub(): Promise<void>;
}

const needed: ImageName[] = ['web', 'postgres', 'redis', 'nginx', 'pebble'];

/** What stands ready before the tour of servers begins; `pullFromHub` is for when the droplet has Docker. */
export async function prepare(): Promise<Prepared> {
  const world = await bareDroplet();
  const images = await ensureImages(world.engine, needed);
  const image = (name: ImageName): string => images.get(name) ?? '';
  const { container } = world.droplet;
  const repository = await makeRepository(imageOf(world), image('web'));
  await emptyCloud(world);
  await placeDownloads(world.engine, container, repository);
  const root = await startAuthority(world.engine, image('pebble'), container);
  const hub = {
    'sandbox/postgres:17': image('postgres'),
    'sandbox/redis:8': image('redis'),
    'sandbox/nginx:1.26': image('nginx'),
  };
  const sandbox = exports(world);
  const env = siteSettings(world, world.droplet, root);
  return { world, repository, sandbox, env, pullFromHub: () => placeImages(world.engine, container, hub) };
}
