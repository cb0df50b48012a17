type Release = () => Promise<unknown> | unknown;

const releases: Release[] = [];
const interruption = new AbortController();
let running: Promise<void> | undefined;

/** Aborted on Ctrl-C, before anything is cleaned up: ends the commands that run. */
export const interrupted = interruption.signal;

/** Does it when the benchmarks end, in whatever way; last come, first done. */
export function atEnd(release: Release): void {
  releases.push(release);
}

/** Undoes everything that {@link atEnd} was told; what fails is said and does not stop the rest. */
export function cleanUp(): Promise<void> {
  running ??= releaseAll();
  return running;
}

async function releaseAll(): Promise<void> {
  for (let release = releases.pop(); release; release = releases.pop()) {
    try {
      await release();
    } catch (error) {
      process.stderr.write(`bench: left behind: ${(error as Error).message}\n`);
    }
  }
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.once(signal, () => {
    process.stderr.write('bench: interrupted, cleaning up\n');
    interruption.abort();
    void cleanUp().then(() => process.exit(130));
  });
}
