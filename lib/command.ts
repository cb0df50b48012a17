import { Failure } from './failure.ts';
import { mask, type Secret } from './secret.ts';

/** A command as data: what is logged, printed by a dry run, compared in a test and executed. */
export interface Command {
  readonly argv: readonly [string, ...string[]];
  /** Added to the environment; secrets go here or to standard input, never to argv. */
  readonly env?: Readonly<Record<string, string | Secret>>;
  readonly cwd?: string;
  /** It has to be root's: by sudo, which must not ask, where the host's user is another. */
  readonly root?: true;
  /** The line on stderr without which it did not end well, whatever its exit code says. */
  readonly witness?: string;
}

/** A command as a person would type it; the values of its environment that are secrets are redacted. */
export function show({ argv, env = {}, root }: Command): string {
  const variables = Object.entries(env).map(([name, value]) => `${name}=${quote(String(value))}`);
  // Masked before they are quoted as well: quoting changes a secret that has a quote in it.
  return mask([...(root ? ['sudo'] : []), ...variables, ...argv.map((word) => quote(mask(word)))].join(' '));
}

/** POSIX single quotes, and only where they are needed: dash knows no other form. */
export function quote(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

/** A command that could not be started, exited with another code than 0, or was killed. */
export class CommandFailure extends Failure {
  constructor(
    readonly command: Command,
    readonly words: string,
    readonly code: number | null,
    how = 'did not start',
    readonly stderr = '',
  ) {
    // One that was killed may have said nothing.
    super(`${command.argv[0]} ${how}${words === how ? '' : `: ${mask(words)}`}`, {
      next: `try it by hand: ${show(command)}`,
    });
    this.name = 'CommandFailure';
  }
}

/** What a command wrote last that says something, on one line. */
export function lastWords(stderr: string): string {
  const said = stderr.split('\n').filter((line) => line.trim() !== '');
  const errors = said.filter((line) => /error|fatal|denied|no such|cannot|refused|not /i.test(line));
  return (errors[0] ?? said.at(-1) ?? '').trim();
}
