import { count } from '../../format.ts';
import type { Row, State } from './row.ts';
import type { Verification } from './verify.ts';

const MARKS: Readonly<Record<State, string>> = {
  ...{ ok: '✓', warning: '!', problem: '✗', unknown: '?', unset: '-' },
};

/** A terminal's width, and where the text of a row begins. */
const WIDTH = 80;
const INDENT = 14;

/** The rows as a table of 80 columns, grouped by where they were seen, with what to do under each that wants it. */
export function describeVerification({ app, at, hosts, rows }: Verification): string {
  const outside = rows.filter(({ host }) => host === undefined);
  const groups = [
    ...(outside.length > 0 ? [['from outside', ...outside.flatMap(describeRow)]] : []),
    ...hosts.map((host) => {
      const its = rows.filter((row) => row.host === host);
      return its.length > 0 ? [`on ${host}`, ...its.flatMap(describeRow)] : [];
    }),
  ];
  const body = groups.filter((group) => group.length > 0).map((group) => group.join('\n'));
  return [...body, `${app}, ${at.slice(0, 19)}Z: ${summary(rows)}`].join('\n\n');
}

/** `12 ok, 1 warning, 2 problems`. */
export function summary(rows: readonly Row[]): string {
  const of = (state: State) => rows.filter((row) => row.state === state).length;
  const [ok, warnings, problems, unknown, unset] = [
    of('ok'),
    of('warning'),
    of('problem'),
    of('unknown'),
    of('unset'),
  ];
  return [
    `${ok} ok`,
    ...(warnings > 0 ? [count(warnings, 'warning')] : []),
    ...(problems > 0 ? [count(problems, 'problem')] : []),
    ...(unknown > 0 ? [`${unknown} could not be looked at`] : []),
    ...(unset > 0 ? [`${unset} not set`] : []),
  ].join(', ');
}

function describeRow({ check, state, found, expected, todo, lines = [] }: Row): string[] {
  const [first = '', ...rest] = wrap(found);
  const wanted = state === 'ok' || state === 'unset' ? [] : wrap(`expected: ${expected}`);
  return [
    `${MARKS[state]} ${check.padEnd(INDENT - 2)}${first}`,
    ...[
      ...rest,
      ...lines.flatMap((line) => wrap(`| ${line}`)),
      ...wanted,
      ...(todo ? wrap(`→ ${todo}`) : []),
    ].map((line) => `${' '.repeat(INDENT)}${line}`),
  ];
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
