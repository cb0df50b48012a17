import { quote } from '../../command.ts';
import type { Item } from './item.ts';
import { line, tested } from './look.ts';

/** What EC2 takes; DigitalOcean takes 64 KiB. */
export const USER_DATA_MAX = 16 * 1024;

/**
 * The items as a script that cloud-init runs as root at first boot: the same looks and the same commands. It goes on
 * after an item that failed only where that is left out, and can be run again by hand.
 */
export function userData(items: readonly Item[], what: string): string {
  return [
    '#!/bin/sh',
    `# ${what}. Its output: /var/log/cloud-init-output.log`,
    'set -eu',
    'export LC_ALL=C.UTF-8 HOME=/root',
    ...items.flatMap(section),
    '',
  ].join('\n');
}

function section({ title, so, only, make }: Item): string[] {
  const acts = make.flatMap(({ input, about, ...command }) =>
    input === undefined
      ? [line(command)]
      : [`${line(command)} <<'OPSBOOK'`, input.replace(/\n$/, ''), 'OPSBOOK'],
  );
  return [
    `if ${tested(so)}; then echo ${quote(`= ${title}`)}`,
    ...(only ? [`elif ! ${tested(only.when)}; then echo ${quote(`! ${title}: ${only.otherwise}`)}`] : []),
    'else',
    ...acts,
    `echo ${quote(`+ ${title}`)}`,
    'fi',
  ];
}
