import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { hostname } from 'node:os';
import type { Readable, Transform, Writable } from 'node:stream';
import { Failure } from './failure.ts';
import { duration } from './format.ts';
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

/** Something on which a command can be run: this machine, or one reached by ssh or SSM. */
export interface Host {
  /** As it is called in messages and before each line of its output. */
  readonly name: string;
  /** The target that it was made of; `local` for this machine. */
  readonly target: string;
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

const STDERR_KEPT = 4000;

/** What the kernel is given for a command; over ssh that is another thing than the command itself. */
export interface Launch {
  argv: readonly string[];
  env?: Readonly<Record<string, string>>;
  cwd?: string | undefined;
}

interface LaunchOptions {
  signal?: AbortSignal | undefined;
  /** Ends the command when the signal is aborted; the child is sent SIGTERM unless told. */
  end?: (child: ChildProcess) => void;
  /** A command that does not heed being ended is killed after this long. */
  killAfterMs: number;
  /** The host, where it is another than this. */
  on?: string;
  /** Take out of its output what is not the command's own. */
  stdout?: Transform;
  stderr?: Transform;
  /** What is wrong with its end, where more is known of it than an exit code. */
  judge?: (code: number | null, failure: CommandFailure | undefined) => Error | undefined;
}

/** Starts a process of this machine for `command`, in whose terms its failure is told. */
export function launch(
  command: Command,
  { argv: [file = '', ...rest], env, cwd }: Launch,
  options: LaunchOptions,
): Running {
  const { signal, end = (child) => void child.kill(), killAfterMs } = options;
  const limit = command.withinS === undefined ? undefined : AbortSignal.timeout(command.withinS * 1000);
  const stops = [signal, limit].filter((stop) => stop !== undefined);
  const child = spawn(file, rest, {
    env: { ...process.env, ...env },
    ...(cwd === undefined ? {} : { cwd }),
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  if (stops.length > 0) endOnAbort(child, AbortSignal.any(stops), end, killAfterMs);
  // A command that ended early closes its input; its exit code says why, not our EPIPE.
  child.stdin.on('error', () => {});
  const stdout = options.stdout ? child.stdout.pipe(options.stdout) : child.stdout;
  const stderr = options.stderr ? child.stderr.pipe(options.stderr) : child.stderr;
  return {
    ...{ stdin: child.stdin, stdout, stderr },
    done: ended(child, stderr, command, { ...options, limit }),
    kill: () => end(child),
  };
}

/** Runs what `start` starts to its end, and returns what it wrote. */
export async function runToEnd(running: Running, input: string | Secret = ''): Promise<string> {
  running.stdin.end(typeof input === 'string' ? input : input.reveal());
  const [text] = await Promise.all([collect(running.stdout), running.done]);
  return text;
}

async function collect(stream: Readable): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString('utf8');
}

function ended(
  child: ChildProcess,
  stderrOf: Readable,
  command: Command,
  {
    signal: interruption,
    judge = (_, failure) => failure,
    on,
    limit,
  }: LaunchOptions & { limit: AbortSignal | undefined },
): Promise<void> {
  const heard: Buffer[] = [];
  let length = 0;
  stderrOf.on('data', (chunk: Buffer) => {
    heard.push(chunk);
    length += chunk.length;
    while (length - (heard[0]?.length ?? 0) > STDERR_KEPT) length -= heard.shift()?.length ?? 0;
  });
  const done = new Promise<void>((resolve, reject) => {
    child.on('error', (error: NodeJS.ErrnoException) => {
      reject(new CommandFailure({ command, words: unstartable(error, command), code: null, on }));
    });
    const settle = (code: number | null, signal: NodeJS.Signals | null) => {
      if (code === 0 && interruption?.aborted) return reject(interruption.reason);
      const stderr = Buffer.concat(heard).toString('utf8').slice(-STDERR_KEPT);
      const how = `did not end within ${duration((command.withinS ?? 0) * 1000)}`;
      if (limit?.aborted && code !== 0)
        return reject(new CommandFailure({ command, words: how, how, code: null, stderr, on }));
      const failed = judge(code, failureOf(command, { code, stderr, killedBy: signal, on }));
      if (failed) reject(failed);
      else resolve();
    };
    child.on('close', (code, signal) => {
      // What takes lines out of it may be behind.
      if (stderrOf.readableEnded || stderrOf.destroyed) return settle(code, signal);
      stderrOf.once('end', () => settle(code, signal));
    });
  });
  // Whoever started it awaits `done` later; until then a rejection is not an unhandled one.
  done.catch(() => {});
  return done;
}

function endOnAbort(
  child: ChildProcess,
  signal: AbortSignal,
  end: (child: ChildProcess) => void,
  killAfterMs: number,
): void {
  const onAbort = () => {
    end(child);
    const late = setTimeout(() => child.kill('SIGKILL'), killAfterMs);
    child.once('exit', () => clearTimeout(late));
  };
  signal.addEventListener('abort', onAbort, { once: true });
  child.once('exit', () => signal.removeEventListener('abort', onAbort));
}

function unstartable({ code, message }: NodeJS.ErrnoException, { argv: [file], cwd }: Command): string {
  // The kernel's answer is the same whichever of the two is missing.
  if (code === 'ENOENT' && cwd !== undefined && !existsSync(cwd)) return `${cwd} is not there to run it in`;
  if (code === 'ENOENT') return `${file}: command not found`;
  return code === 'EACCES' ? `${file}: permission denied` : message;
}

interface LocalOptions extends HostOptions {
  killAfterMs?: number;
}

/** The machine that the script runs on. */
export function localHost({ signal, onStart, killAfterMs = 5_000 }: LocalOptions = {}): Host {
  const start = (command: Command) => {
    signal?.throwIfAborted();
    onStart?.(command);
    return launch(command, asRoot(command), { signal, killAfterMs });
  };
  return {
    ...{ name: hostname(), target: 'local' },
    start,
    get uninterrupted() {
      return localHost({ onStart });
    },
    run: async (command, input) => runToEnd(start(command), input),
  };
}

function asRoot({ argv, env = {}, cwd, root }: Command): Launch {
  const shown = { env: revealed(env), cwd };
  if (!root || process.getuid?.() === 0) return { argv, ...shown };
  return { argv: ['sudo', '-n', `--preserve-env=${Object.keys(env).join(',')}`, '--', ...argv], ...shown };
}

/** An environment as the kernel gets it. */
function revealed(env: Readonly<Record<string, string | Secret>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(env).map(([name, value]) => [name, typeof value === 'string' ? value : value.reveal()]),
  );
}
