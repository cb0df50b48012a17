import { haltHost } from './hosts/host.ts';
import { haltHosts } from './hosts/parts.ts';
import { docker } from './machine/docker.ts';
import type { Engine } from './machine/engine.ts';
import { containerName, label, prefix } from './names.ts';

/** Removes every container, network and volume of this sandbox; `hosts` are those with an engine, beside the parts that are hosts. */
export async function removeAll(engine: Engine, hosts: string[]): Promise<void> {
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
