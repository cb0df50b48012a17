import { createRequire } from 'node:module';
import { Failure } from './failure.ts';
import { mask, Secret } from './secret.ts';

/** A command as data: what is logged, printed by a dry run, compared in a test and executed. */
export interface Command {
  /** As a POSIX shell reads it; made by {@link cmd}. */
  readonly text: string;
  /** Added to the environment; secrets go here or to standard input, never into the text. */
  readonly env?: Readonly<Record<string, string | Secret>>;
  readonly cwd?: string;
  /** It has to be root's: by sudo, which must not ask, where the host's user is not root. */
  readonly root?: true;
  /** How long it may take, in seconds: it is ended then. For what answers at once, or not at all. */
  readonly withinS?: number;
  /** The line on stderr without which it did not end well, whatever its exit code says. */
  readonly marker?: string;
}

/** What may stand among the words of a command: a list is a word each, a command its own words. */
export type Word = string | number | Command | readonly (string | number)[];

const require = createRequire(import.meta.url);
/** zx, loaded for the first command: settings import files that make commands, and `--help` makes none. */
export const zx = () => (require('zx/core') as typeof import('zx/core')).$;

/** Every option of zx is set: its `ZX_` variables would change what is not. */
export const OPTIONS = {
  ...{ shell: '/bin/sh', prefix: '', postfix: '', quote, quiet: true, verbose: false, nothrow: true },
  ...{ preferLocal: false, detached: false, timeout: 0 },
};

/**
 * A command as data, not started: `` cmd`docker stop ${ids}` ``. Each word is quoted once, for any POSIX shell.
 * What a command among the words has beside its text (environment, folder, root) becomes that of the whole.
 * @throws TypeError for a secret, undefined or anything else that would silently become a wrong word
 */
export function cmd(pieces: TemplateStringsArray, ...words: Word[]): Command {
  const texts = [pieces[0] ?? ''];
  const args: Array<string | string[]> = [];
  let whole: Partial<Command> = {};
  words.forEach((word, i) => {
    const next = pieces[i + 1] ?? '';
    if (isCommand(word)) {
      whole = { ...whole, ...word, ...(whole.env ? { env: { ...whole.env, ...word.env } } : {}) };
      texts.push(`${texts.pop()}${word.text}${next}`);
    } else if (Array.isArray(word) && word.length === 0) {
      texts.push(`${texts.pop()?.trimEnd()}${next}`);
    } else {
      args.push(Array.isArray(word) ? word.map(plain) : plain(word));
      texts.push(next);
    }
  });
  const { cmd: text } = zx()({ ...OPTIONS, halt: true })(texts as unknown as TemplateStringsArray, ...args);
  return { ...whole, text };
}

function isCommand(word: unknown): word is Command {
  return typeof word === 'object' && word !== null && 'text' in word;
}

function plain(word: unknown): string {
  if (typeof word === 'string') return word;
  if (typeof word === 'number') return String(word);
  const kind = word instanceof Secret ? 'a secret' : String(word);
  throw new TypeError(`${kind} is among the words of a command`);
}

/** POSIX single quotes, and only where they are needed: dash knows no other form. */
export function quote(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

/** A word of a command's text, quoted or not. */
const WORD = /(?:'[^']*'|\\.|[^\s'\\])+/g;
const unquoted = (word: string): string =>
  word.replaceAll(/'([^']*)'|\\(.)/g, (_, quoted?: string, escaped?: string) => quoted ?? escaped ?? '');

/** The words of a command, as the program gets them. */
export const wordsOf = ({ text }: Command): string[] => (text.match(WORD) ?? []).map(unquoted);

/** The program that a command runs. */
export const programOf = (command: Command): string => wordsOf(command)[0] ?? '';

/** A command as a person would type it; the values of its environment that are secrets are redacted. */
export function show({ text, env = {}, root }: Command): string {
  const variables = Object.entries(env).map(([name, value]) => `${name}=${quote(String(value))}`);
  // Masked before they are quoted as well: quoting changes a secret that has a quote in it.
  const words = text.replaceAll(WORD, (word) => {
    const masked = mask(unquoted(word));
    return masked === unquoted(word) ? word : quote(masked);
  });
  return mask([...(root ? ['sudo'] : []), ...variables, words].join(' '));
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
  /** The host, where it was not this one. */
  on?: string | undefined;
}

/** A command that could not be started, exited with a code other than 0, or was killed. */
export class CommandFailure extends Failure {
  readonly command: Command;
  readonly words: string;
  readonly code: number | null;
  readonly stderr: string;

  constructor({ command, words, code, how = 'did not start', stderr = '', on }: Misfortune) {
    // One that was killed may have said nothing.
    const said = words === how ? '' : `: ${mask(words)}`;
    super(`${on ? `${on}: ` : ''}${programOf(command)} ${how}${said}`, {
      next: `try it by hand${on ? ` on ${on}` : ''}: ${show(command)}`,
    });
    this.name = 'CommandFailure';
    this.command = command;
    this.words = words;
    this.code = code;
    this.stderr = stderr;
  }
}

/** The exit codes by which a shell says that it cannot start a command: not permitted, not found. */
const UNSTARTABLE = [126, 127];

/**
 * What is wrong with how a command ended; undefined when nothing is.
 * @param code null where a signal ended it, which `killedBy` then names
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
  const why = unstartable(code, stderr, command);
  // On this machine the code is the shell's that we put before it, and says nothing more.
  if (why) return new CommandFailure({ command, words: why, code: on ? code : null, stderr, on });
  return new CommandFailure({ command, words: lastWords(stderr) || how, code, how, stderr, on });
}

/** Why a shell could not start a command; undefined where it was the command itself that exited so. */
function unstartable(code: number | null, stderr: string, command: Command): string | undefined {
  if (command.cwd !== undefined && stderr.includes(absent(command.cwd))) return absent(command.cwd);
  if (!UNSTARTABLE.includes(code ?? 0)) return undefined;
  const program = programOf(command);
  // The reason follows the program's name at once: before it, `sh: 1: x: not found` names a shell that did start.
  const reasons = '(?:command )?not found|no such file or directory|permission denied';
  const words = new RegExp(`(?:^|[\\s:])${RegExp.escape(program)}: (${reasons})\\s*$`, 'im');
  const [, why] = words.exec(stderr) ?? [];
  if (why === undefined) return undefined;
  return `${program}: ${/denied/i.test(why) ? 'permission denied' : 'command not found'}`;
}

/** What is said of a folder in which a command was to run. */
export const absent = (cwd: string): string => `${cwd} is not there to run it in`;

function misfortune(code: number | null, stderr: string, { marker }: Command): string | undefined {
  if (code !== 0) return `exited with ${code}`;
  if (marker === undefined || stderr.split('\n').includes(marker)) return undefined;
  return 'ended before its command did';
}

/** What a command wrote last that says something, on one line. */
function lastWords(stderr: string): string {
  const said = stderr.split('\n').filter((line) => line.trim() !== '');
  const errors = said.filter((line) => /error|fatal|denied|no such|cannot|refused|not /i.test(line));
  return (errors[0] ?? said.at(-1) ?? '').trim();
}

/** Whether a shell may replace itself by what a text runs: it is a single command of plain words. */
const isSimple = (text: string): boolean => !/[|&;<>()`\n$]/.test(text.replaceAll(/'[^']*'|\\./g, ''));

/**
 * A command as the text that a host's POSIX shell runs: its folder, its environment, and root by sudo. Variables that
 * are secrets are not in the text, which other users of the host may see.
 */
export function shellText({ text, env = {}, cwd, root }: Command): string {
  const open = Object.entries(env).filter(([, value]) => typeof value === 'string');
  const simple = isSimple(text) ? text : `sh -c ${quote(text)}`;
  const keep = Object.keys(env).join(',');
  return [
    // dash's own message names a line of this text, which tells nobody anything.
    ...(cwd === undefined ? [] : [`cd ${quote(cwd)} 2>/dev/null || { ${complain(absent(cwd))}; }`]),
    ...open.map(([name, value]) => `export ${name}=${quote(String(value))}`),
    root
      ? `if [ "$(id -u)" = 0 ]; then exec ${simple}; else exec sudo -n --preserve-env=${keep} -- ${simple}; fi`
      : `exec ${simple}`,
  ].join('\n');
}

const complain = (text: string) => `printf '%s\\n' ${quote(text)} >&2; exit 1`;

/** The variables of a command that nobody else may see. */
export function secretsOf({ env = {} }: Command): Array<[string, Secret]> {
  return Object.entries(env).filter((entry): entry is [string, Secret] => typeof entry[1] !== 'string');
}
