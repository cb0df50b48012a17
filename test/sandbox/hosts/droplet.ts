import { docker, isRunning, ourLabel, publishedPort, removeContainer, tryDocker } from '../machine/docker.ts';
import type { Engine } from '../machine/engine.ts';
import { checkout, containerName } from '../names.ts';
import { network } from '../network.ts';
import { step } from '../progress.ts';
import { waitFor } from '../wait.ts';
import { ensureKey, type Host, sshKey } from './host.ts';
import { recordHostKey } from './known-hosts.ts';
import { nestingArgs } from './store.ts';

/** A bare machine, booted by systemd and reached by ssh only; it has no engine until one is installed. */
export type Droplet = Omit<Host, 'dockerHost'>;

const name = 'droplet';
const container = containerName(name);
const published = [22, 80, 443, 8000];
const cgroups = '/run/cgroups';

/** Boots the droplet unless it runs. */
export async function ensureDroplet(engine: Engine, image: string): Promise<void> {
  if (await isRunning(engine, container, image)) return;
  await step(`booting the host ${name}`, async () => {
    await ensureKey(engine, image);
    await removeContainer(engine, container);
    await docker(engine, [...runArgs(), image]);
    await recordHostKey(engine, container, name);
    const booted = ['exec', container, 'systemctl', 'is-system-running', '--wait'];
    await waitFor(`${name} to boot`, 60, async () => (await tryDocker(engine, booted)).stdout === 'running');
  });
}

function runArgs(): string[] {
  const argv = ['run', '--detach', '--name', container, '--hostname', name, ...ourLabel];
  // As for the other hosts, but the machine's cgroups are not its own: the start script makes it some.
  argv.push(...nestingArgs.map((arg) => arg.replace(':/sys/fs/cgroup:', `:${cgroups}:`)));
  argv.push('--network', network, '--network-alias', `${name}.sandbox`, '--env', `SANDBOX_HOST=${container}`);
  for (const port of published) argv.push('--publish', `127.0.0.1::${port}`);
  argv.push('--tmpfs', '/run/lock', '--tmpfs', '/tmp:exec', '--volume', '/var/lib/docker');
  argv.push('--volume', `${sshKey}.pub:/run/owner.pub:ro`, '--volume', `${checkout}:${checkout}:ro`);
  return argv;
}

/** The running droplet, or undefined. */
export async function describeDroplet(engine: Engine): Promise<Droplet | undefined> {
  if (!(await isRunning(engine, container))) return undefined;
  const ports: Record<number, number> = {};
  for (const port of published) ports[port] = await publishedPort(engine, container, port);
  const ssh = { host: '127.0.0.1', port: ports[22]!, user: 'deploy', keyFile: sshKey };
  return { name, container, ssh, ports };
}

/** Removes the droplet, and what it leaves in the machine's cgroups, which only a container can be sure to see. */
export async function removeDroplet(engine: Engine): Promise<void> {
  const { stdout, code } = await tryDocker(engine, ['inspect', '--format', '{{.Config.Image}}', container]);
  if (code !== 0) return;
  await removeContainer(engine, container);
  const sweep = ['run', '--rm', '--network', 'none', ...nestingArgs, '--entrypoint', 'find', stdout.trim()];
  const path = ['-path', `*/${container}`, '-o', '-path', `*/${container}/*`];
  await tryDocker(engine, [
    ...sweep,
    '/sys/fs/cgroup',
    '-depth',
    '-type',
    'd',
    '(',
    ...path,
    ')',
    '-exec',
    'rmdir',
    '{}',
    '+',
  ]);
}
