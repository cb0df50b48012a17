import { count } from '../../../format.ts';
import { redact } from '../../../redact.ts';
import { ok, problem, type Row } from '../row.ts';

const EXPECTED = 'no error lines in the last hour';

/** A row for each container that wrote errors, with its last ones: `name`, their number and one of them a line. */
export function logRows(text: string): Row[] {
  const found = new Map<string, { n: number; lines: string[] }>();
  for (const line of text.split('\n').filter(Boolean)) {
    const [who = '', n = '', ...words] = line.split('\t');
    const one = found.get(who) ?? { n: Number(n), lines: [] };
    one.lines.push(redact(words.join(' ')));
    found.set(who, one);
  }
  if (found.size === 0) return [ok('logs', 'none', EXPECTED)];
  return [...found].sort().map(([who, { n, lines }]) => {
    const todo = `read them: remote logs ${who.replace(/-\d+$/, '')} --since 1h`;
    return {
      ...problem('logs', `${who}: ${count(n, 'error line')} in the last hour`, EXPECTED, todo),
      lines,
    };
  });
}
