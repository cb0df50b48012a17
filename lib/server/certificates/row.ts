import { EXIT, Failure } from '../../failure.ts';
import { count, table } from '../../format.ts';
import { type Certificate, describeRemaining, isLate } from './certificate.ts';

/** One thing that was looked at; `todo` is empty where nothing is wrong. */
export interface Row {
  name: string;
  ok: boolean;
  found: string;
  todo: string;
}

export const good = (name: string, found: string): Row => ({ name, ok: true, found, todo: '' });
export const bad = (name: string, found: string, todo: string): Row => ({ name, ok: false, found, todo });

/** What is left is judged by the whole: 20 days are late for a certificate of 90 days, and not for one of 45. */
export function lifetimeRow(name: string, certificate: Certificate, now: Date): Row {
  const days = Math.round((certificate.until.getTime() - certificate.from.getTime()) / 86_400_000);
  const found = `${describeRemaining(certificate, now)} of ${count(days, 'day')}`;
  return isLate(certificate, now)
    ? bad(name, found, 'run renew-certificates, and see why it did not')
    : good(name, found);
}

/** The rows as a table. */
export function describeRows(rows: readonly Row[]): string {
  const mark = (ok: boolean) => (ok ? '✓' : '✗');
  return table([
    ['', 'check', 'found', 'what to do'],
    ...rows.map(({ ok, name, found, todo }) => [mark(ok), name, found, todo]),
  ]);
}

/** @throws Failure with exit 3 when a row is not good */
export function refuseProblems(rows: readonly Row[]): void {
  const [first, ...more] = rows.filter(({ ok }) => !ok);
  if (!first) return;
  const others = more.length > 0 ? ` (and ${count(more.length, 'more problem')})` : '';
  throw new Failure(`${first.name}: ${first.found}${others}`, { exit: EXIT.problem, next: first.todo });
}
