import { type Entries, reveal } from './entries.ts';

/** What happens to a name: added, changed, removed, or nothing. */
export type Mark = '+' | '~' | '-' | '=';

/** What becomes of each name, in order of name. */
export function marks(before: Entries, after: Entries): Map<string, Mark> {
  const names = [...new Set([...before.keys(), ...after.keys()])].sort();
  return new Map(names.map((name) => [name, mark(before.get(name), after.get(name))]));
}

type Value = Parameters<typeof reveal>[0];

function mark(before: Value | undefined, after: Value | undefined): Mark {
  if (before === undefined) return '+';
  if (after === undefined) return '-';
  return reveal(before) === reveal(after) ? '=' : '~';
}

export const changedNames = (all: ReadonlyMap<string, Mark>): string[] =>
  [...all].filter(([, mark]) => mark !== '=').map(([name]) => name);

/** A line for each name; values are nobody's business. */
export const describeMarks = (all: ReadonlyMap<string, Mark>): string =>
  [...all].map(([name, mark]) => `${mark} ${name}`).join('\n');
