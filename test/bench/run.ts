import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { execa } from 'execa';
import { docker } from '../sandbox/machine/docker.ts';
import { engineEnv } from '../sandbox/machine/engine.ts';
import { checkout } from '../sandbox/names.ts';
import { interrupted } from './cleanup.ts';
import type { Bench } from './world.ts';

/** What a run of a script gave. */
export interface Ran {
  seconds: number;
  stdout: string;
}

/** As cron starts it (docs/runbook.md): tsx by its absolute path. */
export const scriptArgv = (script: string, ...args: string[]): [string, ...string[]] => [
  join(checkout, 'node_modules/.bin/tsx'),
  join(checkout, script),
  ...args,
];

/**
 * Runs a command to its end, in a directory that has no `.env`, and times it.
 * @param onStart hears of its process
 * @throws Error with what it said when it fails
 */
export async function timed(
  [file, ...args]: readonly [string, ...string[]],
  env: Record<string, string>,
  onStart?: (pid: number) => void,
): Promise<Ran> {
  const started = performance.now();
  const child = spawn(file, args, { env, cwd: '/', stdio: ['ignore', 'pipe', 'pipe'], signal: interrupted });
  if (child.pid !== undefined) onStart?.(child.pid);
  let [stdout, stderr] = ['', ''];
  child.stdout.on('data', (data) => (stdout += data));
  child.stderr.on('data', (data) => (stderr += data));
  const code = await new Promise<number | null>((resolve, reject) => {
    child.on('error', reject).on('close', resolve);
  });
  const seconds = (performance.now() - started) / 1000;
  if (code !== 0) throw new Error(`${[file, ...args].join(' ')} exited with ${code}: ${stderr.slice(-1500)}`);
  return { seconds, stdout };
}

/** Prints how many nanoseconds a command took, without what it takes to get into the container. */
const STOPWATCH = `start=$(date +%s%N)
"$@" >/dev/null || exit
echo $(( $(date +%s%N) - start ))`;

/** Runs a command in a container; returns the seconds that it took there. @throws Error when it fails */
export async function timedInside(
  { engine }: Bench,
  container: string,
  argv: readonly string[],
  env: Record<string, string> = {},
): Promise<number> {
  const variables = Object.entries(env).flatMap(([name, value]) => ['--env', `${name}=${value}`]);
  const command = ['exec', ...variables, container, 'sh', '-c', STOPWATCH, 'stopwatch', ...argv];
  return Number(await docker(engine, command)) / 1e9;
}

/** Feeds a file to a command in a container. */
export async function feedInside(
  { engine }: Bench,
  container: string,
  file: string,
  argv: readonly string[],
): Promise<string> {
  const { stdout } = await execa('docker', ['exec', '--interactive', container, ...argv], {
    env: engineEnv(engine),
    extendEnv: false,
    inputFile: file,
  });
  return stdout;
}
