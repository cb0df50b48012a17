import { setTimeout as sleep } from 'node:timers/promises';
import { SandboxError } from './names.ts';

/**
 * Probes every 100 ms until `probe` returns something other than undefined or false.
 * A probe that throws has not succeeded yet; its last error ends up in the message.
 * @throws SandboxError after `seconds`
 */
export async function waitFor<T>(
  what: string,
  seconds: number,
  probe: () => Promise<T | undefined | false>,
): Promise<T> {
  const deadline = performance.now() + seconds * 1000;
  let last = '';
  while (performance.now() < deadline) {
    try {
      const value = await probe();
      if (value !== undefined && value !== false) return value;
    } catch (error) {
      if (error instanceof SandboxError) throw error; // this will not get better by waiting
      last = error instanceof Error ? `: ${error.message.split('\n')[0]}` : '';
    }
    await sleep(100);
  }
  throw new SandboxError(`waited ${seconds} s for ${what}${last}`);
}

/** True for an answer below 400; false while nothing listens yet. */
export async function answers(url: string): Promise<boolean> {
  const response = await fetch(url, { signal: AbortSignal.timeout(2000) });
  await response.arrayBuffer();
  return response.status < 400;
}
