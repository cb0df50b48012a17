import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { docker, publishedPort } from '../machine/docker.ts';
import type { Engine } from '../machine/engine.ts';
import { directory, stateDir } from '../names.ts';
import { waitFor } from '../wait.ts';

/** The keys of all hosts of the sandbox, for ssh's UserKnownHostsFile. */
export const knownHosts = join(stateDir, 'ssh/known_hosts');

/** Notes the keys of a host that has just been started, asked of the host itself and not of the network. */
export async function recordHostKey(engine: Engine, container: string, host: string): Promise<void> {
  const show = ['exec', container, 'sh', '-c', 'cat /etc/ssh/ssh_host_*_key.pub'];
  const keys = await waitFor(`the ssh keys of ${host}`, 30, () => docker(engine, show));
  const names = `[127.0.0.1]:${await publishedPort(engine, container, 22)},${host}.sandbox`;
  const lines = keys
    .split('\n')
    .filter(Boolean)
    .map((line) => `${names} ${line.split(' ').slice(0, 2).join(' ')}`);
  directory(stateDir, 'ssh');
  writeFileSync(knownHosts, [...others(host), ...lines].map((line) => `${line}\n`).join(''));
}

function others(host: string): string[] {
  try {
    const lines = readFileSync(knownHosts, 'utf8').split('\n').filter(Boolean);
    return lines.filter((line) => !line.includes(`,${host}.sandbox `));
  } catch {
    return []; // the first host
  }
}
