import type { Outcome } from './index.ts';
/** pending */
export async function files(): Promise<Outcome> {
  return { rows: [], notes: [] };
}
