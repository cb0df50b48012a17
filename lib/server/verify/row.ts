import { EXIT, Failure } from '../../failure.ts';
import { count } from '../../format.ts';

/** What is looked at, in the order in which it is told: from outside, then on each host. */
export const OUTSIDE = ['dns', 'tls', 'redirect', 'health', 'version', 'backup'] as const;
export const INSIDE = [
  ...['containers', 'restarts', 'logs', 'disk', 'inodes', 'memory', 'swap', 'clock', 'reboot'],
  ...['cron', 'ports', 'secrets'],
] as const;
export const CHECKS: readonly string[] = [...OUTSIDE, ...INSIDE];

/**
 * `warning`: to be looked at, though all works; `unknown`: could not be looked at, `found` says why; `unset`: the
 * settings do not say what to look at.
 */
export type State = 'ok' | 'warning' | 'problem' | 'unknown' | 'unset';

/** One thing that was looked at. */
export interface Row {
  check: string;
  /** Where it was looked at; absent for what is seen from outside. */
  host?: string;
  state: State;
  found: string;
  /** What should have been found. */
  expected: string;
  /** What to do about it; empty where there is nothing to do. */
  todo: string;
  /** Lines that show what was found, such as those of a log. */
  lines?: readonly string[];
}

export const ok = (check: string, found: string, expected: string): Row => ({
  ...{ check, state: 'ok', found, expected, todo: '' },
});

export const warning = (check: string, found: string, expected: string, todo: string): Row => ({
  ...{ check, state: 'warning', found, expected, todo },
});

export const problem = (check: string, found: string, expected: string, todo: string): Row => ({
  ...{ check, state: 'problem', found, expected, todo },
});

export const unknown = (check: string, why: string, todo: string): Row => ({
  ...{ check, state: 'unknown', found: why, expected: 'can be looked at', todo },
});

export const unset = (check: string, names: string): Row => ({
  ...{ check, state: 'unset', found: `${names} not set`, expected: '', todo: '' },
});

/** Whether a row fails the run: what could not be seen was not seen to be well. */
export const isBad = ({ state }: Pick<Row, 'state'>): boolean => state === 'problem' || state === 'unknown';

/** @throws Failure with exit 3 when a row is bad */
export function refuseProblems(rows: readonly Row[]): void {
  const bad = rows.filter(isBad);
  const [first] = bad;
  if (!first) return;
  const where = first.host ? ` on ${first.host}` : '';
  const more = bad.length > 1 ? ` (${count(bad.length, 'problem')} in all)` : '';
  throw new Failure(`${first.check}${where}: ${first.found}${more}`, {
    exit: EXIT.problem,
    next: first.todo,
  });
}
