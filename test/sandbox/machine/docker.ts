import { execa } from 'execa';
import { label, prefix } from '../names.ts';
import { say } from '../progress.ts';
import { type Engine, engineEnv } from './engine.ts';

export interface Ran {
  code: number;
  stdout: string;
  stderr: string;
}

/** `docker …` on this engine; never throws on an exit code. */
export async function tryDocker(engine: Engine, args: string[], input?: string): Promise<Ran> {
  const result = await execa('docker', args, {
    env: engineEnv(engine),
    extendEnv: false,
    reject: false,
    ...(input === undefined ? { stdin: 'ignore' as const } : { input }),
  });
  return { code: result.exitCode ?? 1, stdout: result.stdout, stderr: result.stderr };
}

/** `docker …` on this engine. @returns stdout @throws Error with the last line of stderr */
export async function docker(engine: Engine, args: string[], input?: string): Promise<string> {
  const { code, stdout, stderr } = await tryDocker(engine, args, input);
  if (code === 0) return stdout;
  const said = stderr.trim().split('\n').at(-1) ?? '';
  throw new Error(`docker ${args.slice(0, 4).join(' ')}: ${said} (exit ${code})`);
}

export const ourLabel = ['--label', `${label}=${prefix}`];

/** Removes what is left of a container of this name, if anything. */
export async function removeContainer(engine: Engine, name: string): Promise<void> {
  await tryDocker(engine, ['rm', '--force', '--volumes', name]);
}

/**
 * True when the container runs. When it runs on another image than `image`, says so: what is in it may be
 * in use, so it is not replaced unasked.
 */
export async function isRunning(engine: Engine, name: string, image?: string): Promise<boolean> {
  const format = '{{.State.Running}} {{.Config.Image}}';
  const { stdout } = await tryDocker(engine, ['inspect', '--format', format, name]);
  const [running, its] = stdout.trim().split(' ');
  if (running !== 'true') return false;
  if (image && its !== image)
    say(`${name} runs an older image: npm run sandbox -- down, and up again, renews it`);
  return true;
}

export async function containerId(engine: Engine, name: string): Promise<string> {
  return (await docker(engine, ['inspect', '--format', '{{.Id}}', name])).trim();
}

/** The machine's port (on 127.0.0.1) that leads to this port of the container. */
export async function publishedPort(engine: Engine, name: string, port: number): Promise<number> {
  const stdout = await docker(engine, ['port', name, `${port}/tcp`]);
  const found = /:(\d+)\s*$/m.exec(stdout)?.[1];
  if (!found) throw new Error(`${name} publishes no port ${port}`);
  return Number(found);
}
