import { quote } from '../../command.ts';
import { arm, disarm, undo } from './guard.ts';
import type { Act, Item } from './item.ts';
import { line, QUIETLY } from './look.ts';

/** What EC2 takes; DigitalOcean takes 64 KiB. */
export const USER_DATA_MAX = 16 * 1024;

/**
 * The items as a script that cloud-init runs as root at first boot: the same looks and the same commands. It ends at the
 * first item that cannot be made, and can be run again.
 */
export function userData(items: readonly Item[], what: string): string {
  const names = repeated(items);
  const write = (word: string) => {
    const name = names.get(word);
    return name ? `"$${name}"` : quote(word);
  };
  return [
    '#!/bin/sh',
    `# ${what}. Its output: /var/log/cloud-init-output.log`,
    'set -eu',
    'export LC_ALL=C.UTF-8 HOME=/root',
    QUIETLY,
    ...[...names].map(([text, name]) => `${name}=${quote(text)}`),
    ...items.flatMap((item) => section(item, write)),
    '',
  ].join('\n');
}

/** Long pieces of shell that several items share have a name in the script, since its size is limited. */
function repeated(items: readonly Item[]): Map<string, string> {
  const commands = items.flatMap(({ so, only, make }) => [
    so,
    ...(only ?? []).map(({ when }) => when),
    ...make,
  ]);
  const words = commands.flatMap(({ argv }) => argv).filter((word) => word.length > 20);
  const again = [...new Set(words.filter((word, i) => words.indexOf(word) !== i))];
  return new Map(again.map((word, i) => [word, `text${i}`]));
}

function section({ title, so, only = [], make, guard }: Item, write: (word: string) => string): string[] {
  const lines = (acts: readonly Act[]) =>
    acts.flatMap(({ input, about: _, ...command }) =>
      input === undefined
        ? [line(command, write)]
        : [`${line(command, write)} <<'OPSBOOK'`, input.replace(/\n$/, ''), 'OPSBOOK'],
    );
  const acts = !guard
    ? lines(make)
    : [
        ...lines([arm(guard)]),
        `trap ${quote([`echo ${quote(`! ${title}: undone`)}`, ...lines([undo(guard)])].join('\n'))} EXIT`,
        ...lines([...make, guard.proof, disarm(guard)]),
        'trap - EXIT',
      ];
  return [
    `if quietly ${line(so, write)}; then echo ${quote(`= ${title}`)}`,
    ...only.map(
      ({ when, otherwise }) =>
        `elif ! quietly ${line(when, write)}; then echo ${quote(`! ${title}: ${otherwise}`)}`,
    ),
    'else',
    ...acts,
    `echo ${quote(`+ ${title}`)}`,
    'fi',
  ];
}
