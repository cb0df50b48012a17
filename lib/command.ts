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
  /** How long it may take, in seconds: it is ended then. For what answers at once, or not at all. */
  readonly withinS?: number;
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

/** How a command failed. */
interface Misfortune {
  command: Command;
  /** What it said, on one line. */
  words: string;
  /** Its exit code, where it has one. */
  code: number | null;
  how?: string;
  stderr?: string;
  /** The host, where it was another than this. */
  on?: string | undefined;
}

/** A command that could not be started, exited with another code than 0, or was killed. */
export class CommandFailure extends Failure {
  readonly command: Command;
  readonly words: string;
  readonly code: number | null;
  readonly stderr: string;

  constructor({ command, words, code, how = 'did not start', stderr = '', on }: Misfortune) {
    // One that was killed may have said nothing.
    const said = words === how ? '' : `: ${mask(words)}`;
    super(`${on ? `${on}: ` : ''}${command.argv[0]} ${how}${said}`, {
      next: `try it by hand${on ? ` on ${on}` : ''}: ${show(command)}`,
    });
    this.name = 'CommandFailure';
    this.command = command;
    this.words = words;
    this.code = code;
    this.stderr = stderr;
  }
}

/** The exit code by which a shell says that there is no such command. */
const NOT_FOUND = 127;

/**
 * What is wrong with how a command ended; undefined when nothing is.
 * @param code null where a signal ended it, which `how` then says
 */
export function failureOf(
  command: Command,
  {
    code,
    stderr,
    killedBy,
    on,
  }: { code: number | null; stderr: string; killedBy?: string | null; on?: string | undefined },
): CommandFailure | undefined {
  const how = killedBy ? `was killed by ${killedBy}` : misfortune(code, stderr, command);
  if (how === undefined) return undefined;
  const missing =
    code === NOT_FOUND && new RegExp(`${RegExp.escape(command.argv[0])}: not found`).test(stderr);
  const words = missing ? `${command.argv[0]}: command not found` : lastWords(stderr) || how;
  return new CommandFailure({ command, words, code, how, stderr, on });
}

function misfortune(code: number | null, stderr: string, { witness }: Command): string | undefined {
  if (code !== 0) return `exited with ${code}`;
  if (witness === undefined || stderr.split('\n').includes(witness)) return undefined;
  return 'ended before its command did';
}

/** What a command wrote last that says something, on one line. */
function lastWords(stderr: string): string {
  const said = stderr.split('\n').filter((line) => line.trim() !== '');
  const errors = said.filter((line) => /error|fatal|denied|no such|cannot|refused|not /i.test(line));
  return (errors[0] ?? said.at(-1) ?? '').trim();
}
