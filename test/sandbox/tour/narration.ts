import { duration, table } from '../../../lib/format.ts';

const steps: Array<{ what: string; ms: number; proven: string }> = [];

/** A paragraph for the reader, set apart from what scripts say. */
export function tell(text: string): void {
  process.stdout.write(`\n${text}\n`);
}

/** Does what the summary has a row for: `act` resolves to what it has proven, and throws when it has not. */
export async function step(what: string, act: () => Promise<string>): Promise<void> {
  const started = performance.now();
  const proven = await act();
  steps.push({ what, ms: performance.now() - started, proven });
}

/** What was proven and how long it took, and what the reader may try next. */
export function summary(next: string): void {
  const rows = steps.map(({ what, ms, proven }) => [what, duration(ms), proven]);
  tell(`What was proven:\n\n${table([['step', 'took', 'proven'], ...rows], [1])}`);
  tell(next);
}
