import { webFiles } from '../apps/web/bundle.ts';
import { aptFiles } from '../machine/apt.ts';
import { tryDocker } from '../machine/docker.ts';
import type { Engine } from '../machine/engine.ts';
import { withLock } from '../machine/lock.ts';
import { step } from '../progress.ts';
import { buildImage, type ImageSpec, imageTag } from './build.ts';
import { debianTag, ensureDebian, type Suite } from './debian.ts';

export type ImageName = 'moto' | 'host' | 'postgres' | 'redis' | 'nginx' | 'caddy' | 'swift' | 'web';

/** What the hosts' engines have, by the names that the compose files use. */
export const onHosts: Record<string, ImageName> = {
  'sandbox/postgres:17': 'postgres',
  'sandbox/redis:8': 'redis',
  'sandbox/nginx:1.26': 'nginx',
  'sandbox/caddy:2.6': 'caddy',
  'sandbox/swift:2.35': 'swift',
  'sandbox/web:1.0.0': 'web',
};

interface Built {
  spec: ImageSpec;
  tag: string;
}

async function base(suite: Suite): Promise<Built> {
  const apt = await aptFiles(suite);
  const spec: ImageSpec = {
    name: `base-${suite}`,
    context: 'base',
    from: { arg: 'DEBIAN', tag: debianTag(suite) },
    files: { '90machine': { text: apt.conf }, 'sandbox.sources': { text: apt.sources } },
  };
  return { spec, tag: await imageTag(spec) };
}

async function catalogue(): Promise<{ base: Built; images: Map<ImageName, Built> }> {
  const trixie = await base('trixie');
  const from = { arg: 'BASE', tag: trixie.tag };
  const specs: (ImageSpec & { name: ImageName })[] = [
    ...(['moto', 'host', 'redis', 'nginx', 'caddy', 'swift'] as const).map((name) => ({
      name,
      context: name,
      from,
    })),
    { name: 'postgres', context: 'postgres', from, args: { VERSION: '17' } },
    { name: 'web', context: 'web', from, args: { VERSION: '1.0.0' }, files: await webFiles() },
  ];
  const images = new Map<ImageName, Built>();
  for (const spec of specs) images.set(spec.name, { spec, tag: await imageTag(spec) });
  return { base: trixie, images };
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

/** Tags of these images; builds what this machine does not have yet. */
export async function ensureImages(engine: Engine, names: ImageName[]): Promise<Map<ImageName, string>> {
  const known = await catalogue();
  const wanted = names.map((name) => known.images.get(name)!);
  if ((await missing(engine, wanted)).length > 0) {
    await step('building images (the first time takes some minutes)', () =>
      withLock('build', async () => {
        await ensureDebian(engine, 'trixie');
        for (const built of await missing(engine, [known.base]))
          await buildImage(engine, built.spec, built.tag);
        for (const built of await missing(engine, wanted)) await buildImage(engine, built.spec, built.tag);
      }),
    );
  }
  return new Map(names.map((name) => [name, known.images.get(name)!.tag]));
}
