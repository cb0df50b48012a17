import { rm } from 'node:fs/promises';
import { docker, tryDocker } from './machine/docker.ts';
import { type Engine, findEngine } from './machine/engine.ts';
import { withLock } from './machine/lock.ts';
import { cacheDir, imageRepository, label, SandboxError } from './names.ts';
import { say, step } from './progress.ts';

const lines = (text: string): string[] => text.split('\n').filter(Boolean);

/** A table of the containers of all sandboxes of this machine. */
export async function status(): Promise<string> {
  const engine = await findEngine();
  if (!engine) return 'no Docker engine runs\n';
  const format = `table {{.Label "${label}"}}\t{{.Names}}\t{{.Status}}\t{{.Ports}}`;
  const table = await docker(engine, ['ps', '--all', '--filter', `label=${label}`, '--format', format]);
  return `${table.replace(label, 'SANDBOX')}\nengine: ${engine.host ?? "this machine's own"}\n`;
}

/** Removes what sandboxes share: images, image stores, the cache directory. Refused while a sandbox runs. */
export async function purge(): Promise<void> {
  await withLock('engine', async () => {
    const engine = await findEngine();
    if (engine) await removeShared(engine);
    await step(`removing ${cacheDir}`, () => rm(cacheDir, { recursive: true, force: true }));
  });
}

async function removeShared(engine: Engine): Promise<void> {
  const running = lines(
    await docker(engine, ['ps', '--all', '--format', '{{.Names}}', '--filter', `label=${label}`]),
  );
  if (running.length > 0)
    throw new SandboxError(`a sandbox still runs (${running.join(', ')}): bring it down first`);
  const volumes = lines(await docker(engine, ['volume', 'ls', '-q', '--filter', `label=${label}=store`]));
  for (const volume of volumes) await tryDocker(engine, ['volume', 'rm', volume]);
  const images = lines(
    await docker(engine, ['images', '--format', '{{.Repository}}:{{.Tag}}', `${imageRepository}/*`]),
  );
  if (images.length > 0) await tryDocker(engine, ['rmi', ...images]);
  say(`removed ${images.length} images and ${volumes.length} image stores`);
}
