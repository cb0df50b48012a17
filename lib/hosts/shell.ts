import { type Command, quote } from '../command.ts';
import type { Secret } from '../secret.ts';

/**
 * A command as the text that a POSIX shell runs it by: the one edge at which its words are quoted. Variables that are
 * secrets are not in the text, which other users of the host may see.
 */
export function shellText({ argv, env = {}, cwd, root }: Command): string {
  const open = Object.entries(env).filter(([, value]) => typeof value === 'string');
  const words = argv.map(quote).join(' ');
  const keep = Object.keys(env).join(',');
  return [
    // dash's own message names a line of this text, which tells nobody anything.
    ...(cwd === undefined
      ? []
      : [`cd ${quote(cwd)} 2>/dev/null || { ${complain(`${cwd} is not there to run it in`)}; }`]),
    ...open.map(([name, value]) => `export ${name}=${quote(String(value))}`),
    root
      ? `if [ "$(id -u)" = 0 ]; then exec ${words}; else exec sudo -n --preserve-env=${keep} -- ${words}; fi`
      : `exec ${words}`,
  ].join('\n');
}

const complain = (text: string) => `printf '%s\\n' ${quote(text)} >&2; exit 1`;

/** The variables of a command that nobody else may see. */
export function secretsOf({ env = {} }: Command): Array<[string, Secret]> {
  return Object.entries(env).filter((entry): entry is [string, Secret] => typeof entry[1] !== 'string');
}
