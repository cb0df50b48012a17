import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { checkout } from '../../sandbox/names.ts';
import { interrupted } from '../cleanup.ts';

/** What the load saw; see test/deploy/load.ts. */
export interface Seen {
  requests: number;
  failed: number;
  again: number;
  p99: number;
  slowest: number;
  /** What went wrong first. */
  first?: string[];
}

/** So long before and after what is measured the load goes on by itself. */
const AROUND_MS = 1_000;

/** A steady load while `act` runs. */
export async function underLoad<T>(
  url: string,
  rate: number,
  act: () => Promise<T>,
): Promise<{ result: T; seen: Seen }> {
  const argv = [join(checkout, 'test/deploy/load.ts'), url, String(rate)];
  const child = spawn(process.execPath, argv, {
    stdio: ['ignore', 'pipe', 'inherit'],
    signal: interrupted,
  });
  let text = '';
  child.stdout.on('data', (data) => {
    text += data;
  });
  const ended = new Promise<void>((resolve, reject) => {
    child.on('error', reject).on('close', () => resolve());
  });
  try {
    await sleep(AROUND_MS);
    const result = await act();
    await sleep(AROUND_MS);
    child.kill('SIGTERM');
    await ended;
    return { result, seen: JSON.parse(text) as Seen };
  } finally {
    child.kill('SIGTERM');
  }
}
