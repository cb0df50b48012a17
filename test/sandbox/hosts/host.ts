import { chmod, chown, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { docker, isRunning, ourLabel, publishedPort, removeContainer, tryDocker } from '../machine/docker.ts';
import type { Engine } from '../machine/engine.ts';
import { checkout, containerName, directory, stateDir } from '../names.ts';
import { network } from '../network.ts';
import { step } from '../progress.ts';
import { waitFor } from '../wait.ts';
import { instanceLabels } from './instance.ts';
import { recordHostKey } from './known-hosts.ts';
import { nestingArgs } from './store.ts';

/** A machine of the sandbox: a container with an engine, sshd and cron of its own. */
export interface Host {
  name: string;
  container: string;
  /** DOCKER_HOST of the host's engine, from this machine and inside the host alike */
  dockerHost: string;
  ssh: { host: string; port: number; user: string; keyFile: string };
  /** where the host's ports (22, 80, 443 and the app's own) are on this machine */
  ports: Record<number, number>;
}

export interface HostSpec {
  name: string;
  /** the unprivileged user of the cloud's image; it owns the app's directory */
  user: 'ec2-user' | 'deploy';
  /** ports that a test may reach beside 22, 80 and 443 */
  morePorts: number[];
  /** it is an EC2 instance with these tags, registered with SSM */
  instance?: { tags: Record<string, string> };
}

const portsOf = (spec: HostSpec): number[] => [22, 80, 443, ...spec.morePorts];

const uids = { 'ec2-user': 1000, deploy: 1001 };
/** The key that opens all hosts. */
export const sshKey = join(stateDir, 'ssh/id_ed25519');
const hostDir = (name: string): string => join(stateDir, 'hosts', name);
const socket = (name: string): string => join(hostDir(name), 'run/docker.sock');

/** The app's directory: the same path on this machine and in the host, so that either can run compose there. */
export const appDir = (host: string, app: string): string => join(hostDir(host), 'opt', app);

/** Starts the host unless it runs. @returns true when it is a new one, with nothing on it */
export async function ensureHost(
  engine: Engine,
  spec: HostSpec,
  image: string,
  store: string,
): Promise<boolean> {
  const container = containerName(spec.name);
  if (await isRunning(engine, container, image)) return false;
  await step(`starting the host ${spec.name}`, async () => {
    await ensureKey(engine, image);
    await removeContainer(engine, container);
    await rm(hostDir(spec.name), { recursive: true, force: true });
    directory(hostDir(spec.name), 'run');
    await docker(engine, [...runArgs(spec, container, store), image]);
    await recordHostKey(engine, container, spec.name);
    await waitFor(`the engine of ${spec.name}`, 60, async () => {
      const { code } = await tryDocker({ host: `unix://${socket(spec.name)}`, ours: false }, ['version']);
      return code === 0;
    });
  });
  return true;
}

function runArgs(spec: HostSpec, container: string, store: string): string[] {
  const mine = hostDir(spec.name);
  const argv = ['run', '--detach', '--name', container, '--hostname', spec.name, ...ourLabel, ...nestingArgs];
  argv.push('--network', network, '--network-alias', `${spec.name}.sandbox`);
  if (spec.instance) argv.push(...instanceLabels(spec.name, spec.instance.tags));
  for (const port of portsOf(spec)) argv.push('--publish', `127.0.0.1::${port}`);
  argv.push('--env', `SANDBOX_HOST=${container}`, '--env', `SANDBOX_SOCKET=${socket(spec.name)}`);
  argv.push('--volume', `${store}:/store`, '--volume', `${mine}:${mine}`);
  argv.push('--volume', `${sshKey}.pub:/etc/ssh/authorized_keys:ro`);
  // The scripts of this checkout, so that cron and ssh on the host run the same files as the developer.
  argv.push('--volume', `${checkout}:${checkout}:ro`);
  return argv;
}

let keyMade: Promise<void> | undefined;

/** One key for all hosts, which start side by side. */
export function ensureKey(engine: Engine, image: string): Promise<void> {
  keyMade ??= makeKey(engine, image);
  return keyMade;
}

/** Makes it in a container, since a machine without an ssh client has no ssh-keygen. */
async function makeKey(engine: Engine, image: string): Promise<void> {
  if (await readFile(sshKey).catch(() => undefined)) return;
  const dir = directory(stateDir, 'ssh');
  const owner = `${process.getuid?.() ?? 0}:${process.getgid?.() ?? 0}`;
  const argv = ['run', '--rm', '--network', 'none', '--user', owner, '--volume', `${dir}:${dir}`];
  const keygen = ['-q', '-t', 'ed25519', '-N', '', '-C', 'opsbook-sandbox', '-f', sshKey];
  await docker(engine, [...argv, '--entrypoint', 'ssh-keygen', image, ...keygen]);
  await chmod(`${sshKey}.pub`, 0o644);
}

/** Gives a path in the app's directory to the host's unprivileged user, where we may. */
export async function giveTo(user: HostSpec['user'], path: string): Promise<void> {
  if (process.getuid?.() === 0) await chown(path, uids[user], uids[user]);
}

/** The running host, or undefined. */
export async function describeHost(engine: Engine, spec: HostSpec): Promise<Host | undefined> {
  const container = containerName(spec.name);
  if (!(await isRunning(engine, container))) return undefined;
  const ports: Record<number, number> = {};
  for (const port of portsOf(spec)) ports[port] = await publishedPort(engine, container, port);
  return {
    name: spec.name,
    container,
    dockerHost: `unix://${socket(spec.name)}`,
    ssh: { host: '127.0.0.1', port: ports[22]!, user: spec.user, keyFile: sshKey },
    ports,
  };
}

/** Ends what runs on the host, so that nothing of it stays in the machine's cgroups or in the image store. */
export async function haltHost(engine: Engine, container: string): Promise<void> {
  await tryDocker(engine, ['exec', container, 'halt']);
}
