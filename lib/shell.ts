import { type ChildProcess, spawn as spawnProcess } from 'node:child_process';
import { EventEmitter } from 'node:events';
import { createRequire } from 'node:module';
import { hostname } from 'node:os';
import type { Readable, Transform, Writable } from 'node:stream';
import { Failure } from './failure.ts';
import { duration } from './format.ts';
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
const zx = () => (require('zx/core') as typeof import('zx/core')).$;

/** Every option of zx is set: its `ZX_` variables would change what is not. */
const OPTIONS = {
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
  const why = UNSTARTABLE.includes(code ?? 0) ? unstartable(stderr, command) : undefined;
  if (why) return new CommandFailure({ command, words: why, code, stderr, on });
  return new CommandFailure({ command, words: lastWords(stderr) || how, code, how, stderr, on });
}

/** Why a shell could not start a command; undefined where it was the command itself that exited so. */
function unstartable(stderr: string, command: Command): string | undefined {
  if (command.cwd !== undefined && stderr.includes(absent(command.cwd))) return absent(command.cwd);
  const program = programOf(command);
  const [, why] = new RegExp(`${RegExp.escape(program)}: (.*)`).exec(stderr) ?? [];
  if (why && /not found|no such file/i.test(why)) return `${program}: command not found`;
  return why && /permission denied/i.test(why) ? `${program}: permission denied` : undefined;
}

const absent = (cwd: string): string => `${cwd} is not there to run it in`;

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

/** A command that runs, with its streams open. */
export interface Running {
  readonly stdin: Writable;
  readonly stdout: Readable;
  /** For those who show it; the failure of `done` quotes it whether it is read or not. */
  readonly stderr: Readable;
  /** Settles when it ended: rejects with a CommandFailure on a signal or an exit code other than 0. */
  readonly done: Promise<void>;
  kill(): void;
}

/** What a command wrote to stdout. */
export interface Output extends Promise<string> {
  /** @throws Failure where it is not JSON */
  json<T>(): Promise<T>;
  /** Its lines, without empty ones. */
  lines(): Promise<string[]>;
}

/** Runs a command on a host and returns what it wrote: `` await $`docker inspect ${id}`.json() ``. */
export type Shell = (pieces: TemplateStringsArray, ...words: Word[]) => Output;

/** Something on which a command can be run: this machine, or one reached by ssh or SSM. */
export interface Host {
  /** As it is called in messages and before each line of its output. */
  readonly name: string;
  /** The target that it was made of; `local` for this machine. */
  readonly target: string;
  /** For what only looks: it runs in a dry run as well. */
  readonly $: Shell;
  start(command: Command): Running;
  /** Runs to the end and returns what it wrote to stdout; a secret input is seen by the command alone. */
  run(command: Command, input?: string | Secret): Promise<string>;
  /** The same host, whose commands an interruption does not end: for cleaning up behind one. */
  readonly uninterrupted: Host;
}

export interface HostOptions {
  /** Ends the commands when aborted. */
  signal?: AbortSignal | undefined;
  /** Hears of each command before it starts. */
  onStart?: ((command: Command) => void) | undefined;
}

/** The `$` of a host that runs commands by `run`. */
export const shellOf =
  (run: Host['run']): Shell =>
  (pieces, ...words) => {
    const command = cmd(pieces, ...words);
    const output = run(command);
    return Object.assign(output, {
      json: async <T>() => parsed<T>(await output, command),
      lines: async () => (await output).split('\n').filter((line) => line !== ''),
    });
  };

function parsed<T>(text: string, command: Command): T {
  try {
    return JSON.parse(text) as T;
  } catch {
    // The parser quotes what it read, which may be secret.
    throw new Failure(`${programOf(command)}: what it wrote is not JSON`, {
      next: `try it by hand: ${show(command)}`,
    });
  }
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

const complain = (text: string) => `printf '%s\\n' ${quote(text)} >&2; exit 126`;

/** The variables of a command that nobody else may see. */
export function secretsOf({ env = {} }: Command): Array<[string, Secret]> {
  return Object.entries(env).filter((entry): entry is [string, Secret] => typeof entry[1] !== 'string');
}

const STDERR_KEPT = 4000;

/** A command that was started, as a process of ours or as what looks like one. */
export interface Child extends EventEmitter {
  readonly stdin: Writable;
  readonly stdout: Readable;
  readonly stderr: Readable;
  readonly pid?: number | undefined;
  kill(signal?: NodeJS.Signals): unknown;
}

/** Starts the text of a command on a host. */
export type Spawn = (text: string) => Child;

/** A process of this machine, with the environment that it adds to ours. */
export function spawn(
  file: string,
  args: readonly string[],
  options: { env?: Readonly<Record<string, string | Secret>> | undefined; detached?: boolean } = {},
): Child {
  const added = Object.entries(options.env ?? {}).map(([name, value]) => [
    name,
    value instanceof Secret ? value.reveal() : value,
  ]);
  const env = { ...process.env, ...(Object.fromEntries(added) as Record<string, string>) };
  return spawnProcess(file, args, {
    ...{ env, stdio: 'pipe', shell: false, detached: options.detached ?? false },
  }) as ChildProcess & Child;
}

interface StartOptions {
  signal?: AbortSignal | undefined;
  /** Ends the command when the signal is aborted; the child is sent SIGTERM by default. */
  end?: (child: Child) => void;
  /** A command that does not heed being ended is killed after this long. */
  killAfterMs: number;
  /** The host, where it is not this one. */
  on?: string;
  /** Take out of its output what is not the command's own. */
  stdout?: Transform;
  stderr?: Transform;
  /** What is wrong with its end, where more is known of it than an exit code. */
  judge?: (code: number | null, failure: CommandFailure | undefined) => Error | undefined;
}

/** Has zx run `command` by what `spawn` starts; its failure is told in the command's own terms. */
export function launch(command: Command, text: string, spawn: Spawn, options: StartOptions): Running {
  const { signal, end = (child) => void child.kill(), killAfterMs } = options;
  const limit = command.withinS === undefined ? undefined : AbortSignal.timeout(command.withinS * 1000);
  let child: Child | undefined;
  const start = (text: string) => {
    child = spawn(text);
    return seenByZx(child);
  };
  const ended = zx()({ ...OPTIONS, spawn: start as never, signal: new AbortController().signal })(
    Object.assign([text], { raw: [text] }),
  );
  if (!child) throw new Failure(`${programOf(command)} was not started`);
  const { stdin } = child;
  const stops = [signal, limit].filter((stop) => stop !== undefined);
  if (stops.length > 0) endOnAbort(child, AbortSignal.any(stops), end, killAfterMs);
  // A command that ended early closes its input; its exit code says why, not our EPIPE.
  stdin.on('error', () => {});
  const stdout = options.stdout ? child.stdout.pipe(options.stdout) : child.stdout;
  const stderr = options.stderr ? child.stderr.pipe(options.stderr) : child.stderr;
  const said = lastOf(stderr);
  const settled = (async () => {
    const output = await ended;
    await said.ended;
    if (output.cause) throw notStarted(output.cause, command, options.on);
    const { exitCode: code, signal: killedBy } = output;
    if (code === 0 && signal?.aborted) throw signal.reason;
    const words = { stderr: said.text(), on: options.on };
    const how = `did not end within ${duration((command.withinS ?? 0) * 1000)}`;
    if (limit?.aborted && code !== 0)
      throw new CommandFailure({ command, words: how, how, code: null, ...words });
    const failed = failureOf(command, { code, killedBy, ...words });
    const judged = options.judge ? options.judge(code, failed) : failed;
    if (judged) throw judged;
  })();
  // Whoever started it awaits `done` later; until then a rejection is not an unhandled one.
  settled.catch(() => {});
  return { stdin, stdout, stderr, done: settled, kill: () => child && end(child) };
}

/**
 * What zx is shown of a child: that it ends, and how. Its streams stay ours: zx would keep all that is written in
 * memory, and drop what comes before a reader is there.
 */
function seenByZx(child: Child): EventEmitter {
  const seen = Object.assign(new EventEmitter(), { pid: child.pid, stdin: null, stdout: null, stderr: null });
  let error: Error | undefined;
  child.once('error', (thrown: Error) => {
    error = thrown;
    seen.emit('error', thrown);
    seen.emit('close', null, null);
  });
  child.once('close', (code: number | null, signal: NodeJS.Signals | null) => {
    if (!error) seen.emit('close', code, signal);
  });
  return seen;
}

/** The end of what a stream wrote, for a failure to quote. */
function lastOf(stream: Readable): { text(): string; ended: Promise<void> } {
  const heard: Buffer[] = [];
  let length = 0;
  stream.on('data', (chunk: Buffer) => {
    heard.push(chunk);
    length += chunk.length;
    while (length - (heard[0]?.length ?? 0) > STDERR_KEPT) length -= heard.shift()?.length ?? 0;
  });
  const ended = new Promise<void>((resolve) => {
    for (const event of ['end', 'close', 'error']) stream.once(event, () => resolve());
  });
  return { text: () => Buffer.concat(heard).toString('utf8').slice(-STDERR_KEPT), ended };
}

function notStarted(error: Error, command: Command, on: string | undefined): Error {
  // Only the kernel names a call: all else was said in words already.
  if ((error as NodeJS.ErrnoException).syscall === undefined) return error;
  return new CommandFailure({ command, words: error.message, code: null, on });
}

/** Runs what `start` starts to its end, and returns what it wrote. */
export async function runToEnd(running: Running, input: string | Secret = ''): Promise<string> {
  running.stdin.end(typeof input === 'string' ? input : input.reveal());
  const [text] = await Promise.all([collect(running.stdout), running.done]);
  return text;
}

async function collect(stream: Readable): Promise<string> {
  const chunks: Buffer[] = [];
  try {
    for await (const chunk of stream) chunks.push(chunk as Buffer);
  } catch (error) {
    // What could not be started has no output; its failure says why.
    if ((error as NodeJS.ErrnoException).code !== 'ERR_STREAM_PREMATURE_CLOSE') throw error;
  }
  return Buffer.concat(chunks).toString('utf8');
}

function endOnAbort(
  child: Child,
  signal: AbortSignal,
  end: (child: Child) => void,
  killAfterMs: number,
): void {
  const onAbort = () => {
    end(child);
    const late = setTimeout(() => killGroup(child, 'SIGKILL'), killAfterMs);
    child.once('exit', () => clearTimeout(late));
  };
  signal.addEventListener('abort', onAbort, { once: true });
  child.once('exit', () => signal.removeEventListener('abort', onAbort));
}

/** Ends a pipeline whole, where the child leads a group of its own. */
function killGroup(child: Child, signal: NodeJS.Signals): void {
  try {
    if (child.pid !== undefined) process.kill(-child.pid, signal);
  } catch {
    // It leads no group, or the group is another user's: sudo passes the signal on.
    child.kill(signal);
  }
}

interface LocalOptions extends HostOptions {
  killAfterMs?: number;
}

/** The machine that the script runs on. */
export function localHost({ signal, onStart, killAfterMs = 5_000 }: LocalOptions = {}): Host {
  const start = (command: Command) => {
    signal?.throwIfAborted();
    onStart?.(command);
    const { env, root } = command;
    // sudo may know its user by the terminal, which a group of its own would not have.
    const detached = !root || process.getuid?.() === 0;
    const spawnHere: Spawn = (text) =>
      process.platform === 'win32'
        ? spawnOnWindows(command)
        : spawn('/bin/sh', ['-c', text], { env, detached });
    const end = (child: Child) => (detached ? killGroup(child, 'SIGTERM') : void child.kill());
    return launch(command, shellText(command), spawnHere, { signal, killAfterMs, end });
  };
  const run: Host['run'] = async (command, input) => runToEnd(start(command), input);
  return {
    ...{ name: hostname(), target: 'local', $: shellOf(run), start, run },
    get uninterrupted() {
      return localHost({ onStart });
    },
  };
}

/** Windows has no POSIX shell: the program is started by its words. */
function spawnOnWindows(command: Command): Child {
  const [file = '', ...args] = wordsOf(command);
  return spawnProcess(file, args, {
    ...{ env: { ...process.env, ...(command.env as Record<string, string>) }, stdio: 'pipe' },
    ...(command.cwd === undefined ? {} : { cwd: command.cwd }),
  }) as ChildProcess & Child;
}
