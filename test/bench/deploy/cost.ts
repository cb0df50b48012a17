import { spawn } from 'node:child_process';
import { interrupted } from '../cleanup.ts';
import { watchProcess } from '../watch.ts';

/** How a run ended, and what it took. */
export interface Cost {
  code: number | null;
  /** Processor seconds, of the script and of the commands that it ran here. */
  cpu: number;
  /** Peak memory of the script, in bytes. */
  peak: number;
  said: string;
}

/** Runs a command whose failure is what is measured. */
export async function costOf(argv: readonly string[], env: Record<string, string>): Promise<Cost> {
  const text = 'TIMEFORMAT="cpu %U %S"; time "$@"';
  const child = spawn('bash', ['-c', text, 'time', ...argv], {
    ...{ env, cwd: '/', signal: interrupted },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const watched = child.pid === undefined ? undefined : watchProcess(child.pid, 'update-deployment');
  let said = '';
  child.stderr.on('data', (data) => {
    said += data;
  });
  const code = await new Promise<number | null>((resolve, reject) => {
    child.on('error', reject).on('close', resolve);
  });
  const [, user = '0', system = '0'] = /^cpu ([\d.]+) ([\d.]+)$/m.exec(said) ?? [];
  return { code, cpu: Number(user) + Number(system), peak: watched?.stop().peak ?? 0, said };
}
