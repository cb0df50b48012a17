const started = performance.now();

const elapsed = (since: number): string => `${((performance.now() - since) / 1000).toFixed(1)} s`;

/** Talk goes to stderr: stdout belongs to the export lines. */
export function say(text: string): void {
  process.stderr.write(`[${elapsed(started).padStart(7)}] ${text}\n`);
}

/** Says that something began, and how long it took. */
export async function step<T>(title: string, run: () => Promise<T>): Promise<T> {
  const since = performance.now();
  say(`${title} ...`);
  const result = await run();
  say(`${title}: ${elapsed(since)}`);
  return result;
}
