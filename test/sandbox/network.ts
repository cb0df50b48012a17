import { docker, ourLabel, tryDocker } from './machine/docker.ts';
import type { Engine } from './machine/engine.ts';
import { prefix } from './names.ts';

/** The network that all containers of this sandbox are on. */
export const network = prefix;

export async function ensureNetwork(engine: Engine): Promise<void> {
  const { code } = await tryDocker(engine, ['network', 'inspect', network]);
  if (code !== 0) await docker(engine, ['network', 'create', ...ourLabel, network]);
}
