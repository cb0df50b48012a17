import { spawn } from 'node:child_process';
import { existsSync, openSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import { cacheDir, directory, label, SandboxError, stateRoot } from '../names.ts';
import { say, step } from '../progress.ts';
import { waitFor } from '../wait.ts';
import { aptInstall, has } from './packages.ts';

/** The engine that the sandbox's containers run on. */
export interface Engine {
  /** DOCKER_HOST; undefined is the docker client's own default */
  host: string | undefined;
  /** started by a sandbox of this machine, so stopped by the last one that goes down */
  ours: boolean;
}

const runDir = join(cacheDir, 'engine/run');
const pidFile = join(runDir, 'dockerd.pid');
const ourHost = `unix://${join(runDir, 'docker.sock')}`;

/** Only the sandbox decides which engine is meant: its own export lines point the shell at a host's engine. */
export function engineEnv(engine: Engine): Record<string, string | undefined> {
  return { ...process.env, DOCKER_HOST: engine.host, DOCKER_CONTEXT: undefined, DOCKER_CLI_HINTS: 'false' };
}

async function responds(engine: Engine): Promise<boolean> {
  const { exitCode } = await execa('docker', ['version', '--format', '{{.Server.Version}}'], {
    env: engineEnv(engine),
    extendEnv: false,
    reject: false,
    timeout: 10_000,
  });
  return exitCode === 0;
}

function machineEngine(): Engine {
  const host = process.env.DOCKER_HOST;
  // A shell that has evaluated our export lines names a host's engine, not the machine's.
  const inner = host?.startsWith(`unix://${stateRoot}/`) ?? false;
  if (host && !inner && !host.startsWith('unix://')) {
    throw new SandboxError(`DOCKER_HOST=${host}: the sandbox shares directories with its engine, unset it`);
  }
  return { host: inner ? undefined : host, ours: false };
}

/** The engine that runs now, or undefined: starts and installs nothing. */
export async function findEngine(): Promise<Engine | undefined> {
  if (!(await has('docker'))) return undefined;
  const own: Engine = { host: ourHost, ours: true };
  if (existsSync(join(runDir, 'docker.sock')) && (await responds(own))) return own;
  const machine = machineEngine();
  return (await responds(machine)) ? machine : undefined;
}

/** The running engine; else installs one where that is possible and starts it. Call it under the engine lock. */
export async function ensureEngine(): Promise<Engine> {
  const running = await findEngine();
  if (running) return running;
  if (process.getuid?.() !== 0) {
    throw new SandboxError(
      'no Docker engine answers: start Docker, or run as root on Debian or Ubuntu to let the sandbox do it',
    );
  }
  if (!(await has('dockerd')) || !(await has('docker')) || !(await has('iptables'))) {
    await aptInstall('a Docker engine', ['docker.io', 'iptables']);
    const started = await findEngine(); // under systemd the package starts its own service
    if (started) return started;
  }
  return step('starting a Docker engine of the sandbox', startOwn);
}

async function startOwn(): Promise<Engine> {
  directory(runDir);
  rmSync(pidFile, { force: true }); // nothing answered on the socket: what is left is a dead engine's
  const logFile = join(cacheDir, 'engine/dockerd.log');
  const log = openSync(logFile, 'w');
  const data = directory(cacheDir, 'engine/data');
  // No default bridge: each sandbox has a network of its own, and docker0 would be one more thing left behind.
  const argv = ['--data-root', data, '--exec-root', join(runDir, 'exec'), '--pidfile', pidFile];
  const child = spawn('dockerd', [...argv, '--host', ourHost, '--bridge', 'none'], {
    detached: true,
    stdio: ['ignore', log, log],
  });
  child.unref();
  const engine: Engine = { host: ourHost, ours: true };
  await waitFor('the Docker engine', 30, async () => {
    if (child.exitCode !== null) throw new SandboxError(`dockerd stopped: see ${logFile}`);
    return responds(engine);
  }).catch((error) => {
    const reason = readFileSync(logFile, 'utf8').trim().split('\n').at(-1) ?? '';
    throw new SandboxError(`no Docker engine can run here (${error.message}); dockerd said: ${reason}`);
  });
  return engine;
}

/** Stops the engine that we started, when no sandbox uses it any more. Call it under the engine lock. */
export async function stopIfUnused(engine: Engine): Promise<void> {
  if (!engine.ours) return;
  const list = async (...args: string[]): Promise<string> => {
    const { stdout } = await execa('docker', [...args, '-q', '--filter', `label=${label}`], {
      env: engineEnv(engine),
      extendEnv: false,
    });
    return stdout;
  };
  const users = `${await list('ps', '-a')}${await list('network', 'ls')}`;
  if (users.trim()) {
    say('the Docker engine stays: another sandbox uses it');
    return;
  }
  const pid = Number(readFileSync(pidFile, 'utf8'));
  await step('stopping the Docker engine', async () => {
    process.kill(pid, 'SIGTERM');
    await waitFor('dockerd to stop', 30, async () => !existsSync(`/proc/${pid}`));
    // dockerd leaves the mount of its network namespace behind, and a mount point cannot be removed.
    await execa('umount', [join(runDir, 'exec/netns/default')], { reject: false });
    rmSync(runDir, { recursive: true, force: true });
  });
}
