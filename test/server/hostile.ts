import { randomInt } from 'node:crypto';

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

/** A value of up to 40 characters, most of which mean something to some reader. */
export const randomHostile = (): string =>
  Array.from({ length: randomInt(1, 40) }, () => alphabet[randomInt(alphabet.length)]).join('');
