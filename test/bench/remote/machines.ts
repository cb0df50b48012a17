import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { instanceId, instanceLabels } from '../../sandbox/hosts/instance.ts';
import { ensureImages } from '../../sandbox/images/catalogue.ts';
import { docker, ourLabel, removeContainer } from '../../sandbox/machine/docker.ts';
import { containerName } from '../../sandbox/names.ts';
import { network } from '../../sandbox/network.ts';
import { waitFor } from '../../sandbox/wait.ts';
import { atEnd } from '../cleanup.ts';
import type { Bench } from '../world.ts';

/** A machine that does nothing but answer: sshd, and an instance for SSM. */
interface Machine {
  instance: string;
  address: string;
}

export interface Machines {
  all: readonly Machine[];
  key: string;
  knownHosts: string;
}

const SSHD = 'ssh-keygen -q -A && mkdir -p /run/sshd && exec /usr/sbin/sshd -D -e';
const USER = 'ec2-user';

/** So many machines; two sets of tags, so that one of them and all of them can be named. */
export async function startMachines(bench: Bench, count: number): Promise<Machines> {
  const { engine, dir } = bench;
  const image = (await ensureImages(engine, ['host'])).get('host')!;
  const key = join(dir, 'key');
  await execa('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', key]);
  const all: Machine[] = [];
  for (let n = 1; n <= count; n += 1) {
    const name = `bench-${n}`;
    const container = containerName(name);
    atEnd(() => removeContainer(engine, container));
    const argv = [
      'run',
      '--detach',
      '--name',
      container,
      '--hostname',
      name,
      ...ourLabel,
      '--network',
      network,
    ];
    argv.push(...instanceLabels(name, { Name: 'bench', Number: String(n) }));
    argv.push('--volume', `${key}.pub:/etc/ssh/authorized_keys:ro`, '--entrypoint', 'sh', image, '-c', SSHD);
    await docker(engine, argv);
    const format = '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}';
    const address = (await docker(engine, ['inspect', '--format', format, container])).trim();
    all.push({ instance: instanceId(name), address: `${USER}@${address}` });
  }
  return { all, key, knownHosts: await knownHosts(dir, all) };
}

async function knownHosts(dir: string, machines: readonly Machine[]): Promise<string> {
  const file = join(dir, 'known_hosts');
  const addresses = machines.map(({ address }) => address.replace(/^.*@/, ''));
  await waitFor('all sshd', 60, async () => {
    const { stdout } = await execa('ssh-keyscan', ['-t', 'ed25519', ...addresses], { reject: false });
    await writeFile(file, `${stdout}\n`);
    return stdout.split('\n').filter((line) => line.includes('ssh-ed25519')).length === machines.length;
  });
  return file;
}
