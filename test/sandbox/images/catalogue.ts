import pLimit from 'p-limit';
import { webFiles } from '../apps/web/bundle.ts';
import { frontFiles } from '../cloud/front/bundle.ts';
import { aptFiles } from '../machine/apt.ts';
import { tryDocker } from '../machine/docker.ts';
import type { Engine } from '../machine/engine.ts';
import { withLock } from '../machine/lock.ts';
import { step } from '../progress.ts';
import { buildImage, type ImageSpec, imageTag } from './build.ts';
import { debianTag, ensureDebian, type Suite } from './debian.ts';

export type ImageName =
  | 'moto'
  | 'host'
  | 'droplet'
  | 'postgres'
  | 'postgres15'
  | 'redis'
  | 'nginx'
  | 'caddy'
  | 'swift'
  | 'pebble'
  | 'web';

/** Two at a time: while one unpacks packages, the other fetches its own. */
const inPairs = pLimit(2);

interface Built {
  spec: ImageSpec;
  tag: string;
  suite: Suite;
}

async function base(suite: Suite): Promise<Built> {
  const apt = await aptFiles(suite);
  const spec: ImageSpec = {
    name: `base-${suite}`,
    context: 'base',
    from: { arg: 'DEBIAN', tag: debianTag(suite) },
    files: { '90machine': { text: apt.conf }, 'sandbox.sources': { text: apt.sources } },
  };
  return { spec, tag: await imageTag(spec), suite };
}

type Variant = Pick<ImageSpec, 'args' | 'files'> & { context?: string; suite?: Suite };

async function variants(): Promise<Record<ImageName, Variant>> {
  return {
    moto: { files: await frontFiles() },
    host: {},
    droplet: {},
    redis: {},
    nginx: {},
    caddy: {},
    swift: {},
    pebble: {},
    postgres: { args: { VERSION: '17' } },
    // Each Debian has one PostgreSQL: the older server comes with the older Debian.
    postgres15: { context: 'postgres', suite: 'bookworm', args: { VERSION: '15' } },
    web: { args: { VERSION: '1.0.0' }, files: await webFiles() },
  };
}

/** What is to be built for these images, and the bases below them. */
async function plan(names: ImageName[]): Promise<{ bases: Built[]; images: Map<ImageName, Built> }> {
  const all = await variants();
  const suites = new Set(names.map((name) => all[name].suite ?? 'trixie'));
  const bases = new Map<Suite, Built>();
  for (const suite of suites) bases.set(suite, await base(suite));
  const images = new Map<ImageName, Built>();
  for (const name of names) {
    const { context = name, suite = 'trixie', ...rest } = all[name];
    const spec = { name, context, from: { arg: 'BASE', tag: bases.get(suite)!.tag }, ...rest };
    images.set(name, { spec, tag: await imageTag(spec), suite });
  }
  return { bases: [...bases.values()], images };
}

async function missing(engine: Engine, wanted: Built[]): Promise<Built[]> {
  const { stdout } = await tryDocker(engine, [
    'image',
    'inspect',
    '--format',
    '{{json .RepoTags}}',
    ...wanted.map((b) => b.tag),
  ]);
  return wanted.filter(({ tag }) => !stdout.includes(`"${tag}"`));
}

async function buildMissing(engine: Engine, bases: Built[], wanted: Built[]): Promise<void> {
  const absent = await missing(engine, wanted);
  const suites = new Set(absent.map(({ suite }) => suite));
  for (const { spec, tag, suite } of await missing(engine, bases)) {
    if (!suites.has(suite)) continue;
    await ensureDebian(engine, suite);
    await buildImage(engine, spec, tag);
  }
  await Promise.all(absent.map(({ spec, tag }) => inPairs(() => buildImage(engine, spec, tag))));
}

/** Tags of these images; builds what this machine does not have yet. */
export async function ensureImages(engine: Engine, names: ImageName[]): Promise<Map<ImageName, string>> {
  const { bases, images } = await plan([...new Set(names)]);
  const wanted = [...images.values()];
  if ((await missing(engine, wanted)).length > 0) {
    await step('building images (the first time takes some minutes)', () =>
      withLock('build', () => buildMissing(engine, bases, wanted)),
    );
  }
  return new Map([...images].map(([name, { tag }]) => [name, tag]));
}
