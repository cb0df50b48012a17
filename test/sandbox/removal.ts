import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { bloaty } from './apps/bloaty.ts';
import { chitram } from './apps/chitram.ts';
import { haltHost } from './hosts/host.ts';
import { haltHosts } from './hosts/parts.ts';
import { docker } from './machine/docker.ts';
import { type Engine, ensureEngine, findEngine, stopIfUnused } from './machine/engine.ts';
import { withLock } from './machine/lock.ts';
import { containerName, label, prefix, stateDir } from './names.ts';
import { step } from './progress.ts';
import { site } from './services/certificates.ts';

/** Removes all that `up` made, except the cache of images. */
export async function down(): Promise<void> {
  await withLock('engine', async () => {
    // After a restart of the machine the containers are still there, and the engine is not.
    const engine = (await findEngine()) ?? (existsSync(stateDir) ? await ensureEngine() : undefined);
    if (engine) {
      await step(`removing the sandbox "${prefix}"`, () => removeAll(engine));
      await stopIfUnused(engine);
    }
    await rm(stateDir, { recursive: true, force: true });
  });
}

/** Removes every container, network and volume of this sandbox. */
async function removeAll(engine: Engine): Promise<void> {
  // Those with an engine, beside the parts that are hosts.
  const hosts = [bloaty.host.name, chitram.host.name, site.name];
  const ours = ['--filter', `label=${label}=${prefix}`];
  const lines = (text: string): string[] => text.split('\n').filter(Boolean);
  const containers = lines(await docker(engine, ['ps', '-aq', ...ours]));
  await Promise.all([...hosts.map((name) => haltHost(engine, containerName(name))), haltHosts(engine)]);
  if (containers.length > 0) await docker(engine, ['rm', '--force', '--volumes', ...containers]);
  const networks = lines(await docker(engine, ['network', 'ls', '-q', ...ours]));
  if (networks.length > 0) await docker(engine, ['network', 'rm', ...networks]);
  const volumes = lines(await docker(engine, ['volume', 'ls', '-q', ...ours]));
  if (volumes.length > 0) await docker(engine, ['volume', 'rm', ...volumes]);
}
