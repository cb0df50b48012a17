const started = performance.now();

/** Talk goes to stderr: stdout is the table's. */
export function say(text: string): void {
  const elapsed = ((performance.now() - started) / 1000).toFixed(0);
  process.stderr.write(`[${elapsed.padStart(5)} s] ${text}\n`);
}
