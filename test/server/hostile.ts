import { randomInt } from 'node:crypto';
import { parse } from 'dotenv';
import { parseEnv } from '../../lib/env-file.ts';

/** The passwords of baseline-faults row 12: 35 that some reader of an env file takes for something else. */
export const hostile: readonly string[] = [
  ...['ab/cd', 'ab+cd', 'ab=cd', 'ab:cd', 'ab#cd', 'ab #cd', '#abcd', 'ab@cd', 'ab%cd', 'ab%41cd'],
  ...[
    'ab$cd',
    'ab$$cd',
    'ab${HOME}cd',
    '$abcd',
    'abcd$',
    'ab$(touch /tmp/x)cd',
    'ab`touch /tmp/x`cd',
    'ab;cd',
  ],
  ...['ab&cd', 'ab cd', "'abcd", '"abcd', "'abcd'", '"abcd"', `ab'cd`, `ab"cd`, ' abcd', 'abcd ', 'ab\\cd'],
  ...['abcd\\', 'ab\ncd', 'ab\nKEY=v', 'ab\\ncd', 'ab\r\ncd\t', `\\"$'\`#%!&*{}[]()<>|~?é€😀`],
];

const alphabet = [...`ab01\\"'$\`#%=:@/+ \t\n\r{}()é€😀`];

/** Values of up to 40 characters, most of which mean something to some reader; those of one seed are always the same. */
export function randomHostile(count: number, seed = randomInt(2 ** 32)): string[] {
  let state = seed;
  const below = (limit: number) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * limit);
  };
  return Array.from({ length: count }, () =>
    Array.from({ length: 1 + below(39) }, () => alphabet[below(alphabet.length)]).join(''),
  );
}

/** Lines that a reader would take for a part of the value before them if its end could be missed. */
const BEHIND = `\nB=b'\nC=c"\nD=''\nE=""\n# it's "so"\n`;

/**
 * Whether some way of writing a value is read as that value by dotenv and Compose alike, whatever comes after it. What
 * one of them only happens to leave alone does not count: a `$` outside of single quotes, a backslash in double quotes,
 * a backtick at the start.
 */
export function hasCommonForm(value: string): boolean {
  const oneLine = value.replaceAll('\n', '\\n').replaceAll('\r', '\\r');
  const forms = [
    `'${value}'`,
    `'${value.replaceAll("'", "\\'")}'`,
    ...(/^`|\$/.test(value) ? [] : [value, ` ${value}`]),
    ...(/[\\$]/.test(value) ? [] : [`"${value}"`, `"${oneLine}"`]),
  ];
  return forms.some((form) =>
    [parse, parseEnv].every((read) => {
      try {
        return read(`A=${form}${BEHIND}`).A === value;
      } catch {
        return false;
      }
    }),
  );
}
