import { EXIT, Failure } from '../failure.ts';
import { count } from '../format.ts';

/**
 * `warning`: works, but needs attention soon; `unknown`: could not be checked, `found` says why; `unset`: the
 * settings do not say what to check.
 */
export type State = 'ok' | 'warning' | 'problem' | 'unknown' | 'unset';

/** What a check found. */
export interface Finding {
  state: State;
  found: string;
  /** What should have been found. */
  expected: string;
  /** What to do about it; empty where there is nothing to do. */
  todo: string;
  /** Lines that show what was found, such as those of a log. */
  lines?: readonly string[];
}

/** A finding, with the check that made it. */
export interface Row extends Finding {
  check: string;
  /** Where it was found; absent for what is seen from outside. */
  host?: string;
}

/** A backup as `scripts/backup/list.ts --json` reports it. */
export interface Backup {
  id: string;
  state: 'complete' | 'partial' | 'unfinished';
  /** ISO 8601. */
  started: string;
  bytes: number;
}

/** All that was found out about an app. */
export interface Verification {
  app: string;
  /** ISO 8601, UTC. */
  at: string;
  hosts: string[];
  rows: Row[];
  /** The history of the backups, oldest first, where it was read. */
  backups?: readonly Backup[];
}

/** A finding; of one that is ok there is nothing to do. */
export const finding = (state: State, found: string, expected: string, todo: string): Finding => ({
  ...{ state, found, expected, todo: state === 'ok' ? '' : todo },
});

export const ok = (found: string, expected: string): Finding => finding('ok', found, expected, '');

export const problem = (found: string, expected: string, todo: string): Finding =>
  finding('problem', found, expected, todo);

export const unknown = (why: string, todo: string): Finding =>
  finding('unknown', why, 'can be checked', todo);

/** For a check whose settings are not set: `DOMAIN is`. */
export const unset = (names: string): Finding => finding('unset', `${names} not set`, '', '');

/** Whether a row fails the run: what could not be checked does not count as well. */
export const isBad = ({ state }: Finding): boolean => state === 'problem' || state === 'unknown';

/** @throws Failure with exit 3 when a row is bad */
export function refuseProblems(rows: readonly Row[]): void {
  const bad = rows.filter(isBad);
  const [first] = bad;
  if (!first) return;
  const where = first.host ? ` on ${first.host}` : '';
  const more = bad.length > 1 ? ` (${count(bad.length, 'problem')} in all)` : '';
  const message = `${first.check}${where}: ${first.found}${more}`;
  throw new Failure(message, { exit: EXIT.problem, next: first.todo });
}

/** A terminal's width, and where the text of a row begins. */
const WIDTH = 80;
const INDENT = 14;

const MARKS: Readonly<Record<State, string>> = {
  ...{ ok: '✓', warning: '!', problem: '✗', unknown: '?', unset: '-' },
};

/** The rows as a table of 80 columns, grouped by where they were found, with what to do under each that needs it. */
export function describeVerification({ app, at, hosts, rows }: Verification): string {
  const groups = [undefined, ...hosts].flatMap((host) => {
    const its = rows.filter((row) => row.host === host).flatMap(describeRow);
    return its.length > 0 ? [[host ? `on ${host}` : 'from outside', ...its].join('\n')] : [];
  });
  return [...groups, `${app}, ${at.slice(0, 19)}Z: ${summary(rows)}`].join('\n\n');
}

/** `12 ok, 1 warning, 2 problems`. */
function summary(rows: readonly Row[]): string {
  const number = (state: State) => rows.filter((row) => row.state === state).length;
  const some = (state: State, text: (n: number) => string) => {
    const n = number(state);
    return n > 0 ? [text(n)] : [];
  };
  return [
    `${number('ok')} ok`,
    ...some('warning', (n) => count(n, 'warning')),
    ...some('problem', (n) => count(n, 'problem')),
    ...some('unknown', (n) => `${n} could not be checked`),
    ...some('unset', (n) => `${n} not set`),
  ].join(', ');
}

function describeRow({ check, state, found, expected, todo, lines = [] }: Row): string[] {
  const isFine = state === 'ok' || state === 'unset';
  const [first = '', ...rest] = [
    ...wrap(found),
    ...lines.flatMap((line) => wrap(`| ${line}`)),
    ...(isFine ? [] : wrap(`expected: ${expected}`)),
    ...(todo ? wrap(`→ ${todo}`) : []),
  ];
  const head = `${MARKS[state]} ${check.padEnd(INDENT - 2)}${first}`;
  return [head, ...rest.map((line) => `${' '.repeat(INDENT)}${line}`)];
}

/** Lines of at most the width that a row has, broken at blanks; a longer word is cut. */
function wrap(text: string): string[] {
  const lines: string[] = [];
  let rest = text.replaceAll(/\s+/g, ' ');
  const width = WIDTH - INDENT;
  while (rest.length > width) {
    const blank = rest.lastIndexOf(' ', width);
    const end = blank > 2 ? blank : width;
    lines.push(rest.slice(0, end));
    rest = rest.slice(end).trimStart();
  }
  return [...lines, rest];
}
