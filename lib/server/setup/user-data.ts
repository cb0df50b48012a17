import { quote } from '../../command.ts';
import type { Item } from './item.ts';
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
  const commands = items.flatMap(({ so, only, make }) => [so, ...(only ? [only.when] : []), ...make]);
  const words = commands.flatMap(({ argv }) => argv).filter((word) => word.length > 20);
  const again = [...new Set(words.filter((word, i) => words.indexOf(word) !== i))];
  return new Map(again.map((word, i) => [word, `text${i}`]));
}

function section({ title, so, only, make }: Item, write: (word: string) => string): string[] {
  const acts = make.flatMap(({ input, about: _, ...command }) =>
    input === undefined
      ? [line(command, write)]
      : [`${line(command, write)} <<'OPSBOOK'`, input.replace(/\n$/, ''), 'OPSBOOK'],
  );
  return [
    `if quietly ${line(so, write)}; then echo ${quote(`= ${title}`)}`,
    ...(only
      ? [`elif ! quietly ${line(only.when, write)}; then echo ${quote(`! ${title}: ${only.otherwise}`)}`]
      : []),
    'else',
    ...acts,
    `echo ${quote(`+ ${title}`)}`,
    'fi',
  ];
}
