import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { docker, tryDocker } from '../machine/docker.ts';
import { type Engine, engineEnv } from '../machine/engine.ts';
import { aptInstall, has } from '../machine/packages.ts';
import { cacheDir, directory, imageRepository, SandboxError } from '../names.ts';
import { step } from '../progress.ts';

export type Suite = 'trixie' | 'bookworm';

export const debianTag = (suite: Suite): string => `${imageRepository}/debian:${suite}`;

/** Debian itself: pulled where a registry can be reached, else made by debootstrap. Call it under the build lock. */
export async function ensureDebian(engine: Engine, suite: Suite): Promise<void> {
  const tag = debianTag(suite);
  if ((await tryDocker(engine, ['image', 'inspect', tag])).code === 0) return;
  await step(`Debian ${suite}`, async () => {
    if (await pull(engine, suite)) return;
    await bootstrap(engine, suite);
  });
}

async function pull(engine: Engine, suite: Suite): Promise<boolean> {
  const official = `debian:${suite}-slim`;
  const { exitCode } = await execa('docker', ['pull', '--quiet', official], {
    env: engineEnv(engine),
    extendEnv: false,
    reject: false,
    timeout: 120_000, // without a network it fails at once; behind a silent firewall it would try for minutes
  });
  if (exitCode !== 0) return false;
  await docker(engine, ['tag', official, debianTag(suite)]);
  return true;
}

async function bootstrap(engine: Engine, suite: Suite): Promise<void> {
  if (!(await has('debootstrap')))
    await aptInstall('a base image (no registry can be reached)', ['debootstrap']);
  const root = join(directory(cacheDir, 'build'), `debian-${suite}`);
  await rm(root, { recursive: true, force: true });
  // No mirror argument: debootstrap finds the one that this machine uses.
  const made = await execa('debootstrap', ['--variant=minbase', suite, root], { reject: false, all: true });
  if (made.exitCode !== 0) {
    throw new SandboxError(`debootstrap ${suite} failed: ${made.all.trim().split('\n').at(-1)}`);
  }
  const downloads = ['var/cache/apt', 'var/lib/apt/lists'];
  for (const dir of downloads) await rm(join(root, dir), { recursive: true, force: true });
  const tar = execa('tar', ['-C', root, '-c', '.'], { stdout: 'pipe', buffer: false });
  await tar.pipe('docker', ['import', '-', debianTag(suite)], { env: engineEnv(engine), extendEnv: false });
  await rm(root, { recursive: true, force: true });
}
