import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { checkout } from '../names.ts';

/** What users noticed. */
interface Noticed {
  requests: number;
  failed: number;
  /** How often each version answered. */
  versions: Record<string, number>;
  /** Milliseconds. */
  slowest: number;
}

/** A steady load of requests from now on. */
export interface Load {
  /** @throws Error when a request has failed so far, with the first that did */
  unbroken(): Promise<void>;
  /** @throws Error as `unbroken` does */
  end(): Promise<Noticed>;
  /** Ends it, whatever came of it; nothing where it has ended. */
  stop(): void;
}

/** Starts the load of the tests of deployments: each request is sent at its time, whatever became of those before it. */
export async function startLoad(url: string, perSecond: number): Promise<Load> {
  const dir = await mkdtemp(join(tmpdir(), 'opsbook-tour-'));
  const failures = join(dir, 'failed');
  const argv = ['test/deploy/load.ts', url, String(perSecond), failures];
  const running = execa(process.execPath, argv, { cwd: checkout, cleanup: true });
  const unbroken = async () => {
    const failed = (await readFile(failures, 'utf8').catch(() => '')).split('\n').filter(Boolean);
    if (failed.length === 0) return;
    throw new Error(`${failed.length} requests failed; the first: ${failed[0]}`);
  };
  return {
    unbroken,
    stop: () => void running.kill('SIGTERM'),
    async end() {
      running.kill('SIGTERM');
      const { stdout } = await running;
      await unbroken();
      await rm(dir, { recursive: true });
      return JSON.parse(stdout) as Noticed;
    },
  };
}
