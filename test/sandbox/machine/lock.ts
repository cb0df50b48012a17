import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { cacheDir, directory } from '../names.ts';
import { say } from '../progress.ts';

/**
 * Runs `work` while holding the machine-wide lock `name`, so that sandboxes which start together neither build
 * the same image twice nor stop the engine under each other.
 * The lock is held by a flock child until its stdin closes: when we die in any way, the kernel closes it.
 */
export async function withLock<T>(name: string, work: () => Promise<T>): Promise<T> {
  const file = join(directory(cacheDir, 'locks'), name);
  const child = spawn('flock', ['--exclusive', file, 'sh', '-c', 'echo held; exec cat'], {
    stdio: ['pipe', 'pipe', 'inherit'],
    detached: true, // Ctrl-C must not release the lock before our own cleanup is done
  });
  const waiting = setTimeout(() => say(`waiting for another sandbox to finish (${name})`), 1000);
  try {
    const [first] = await Promise.race([once(child.stdout, 'data'), once(child, 'exit')]);
    if (String(first).trim() !== 'held') throw new Error(`flock ${file} failed`);
  } finally {
    clearTimeout(waiting);
  }
  try {
    return await work();
  } finally {
    child.stdin.end();
    if (child.exitCode === null) await once(child, 'exit');
  }
}
