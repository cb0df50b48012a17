import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { hostname } from 'node:os';
import type { Readable, Writable } from 'node:stream';
import { Failure } from './failure.ts';
import { mask, type Secret } from './secret.ts';

/** A command as data: what is logged, printed by a dry run, compared in a test and executed. */
export interface Command {
  readonly argv: readonly [string, ...string[]];
  /** Added to the environment; secrets go here or to standard input, never to argv. */
  readonly env?: Readonly<Record<string, string | Secret>>;
  readonly cwd?: string;
  /** The line on stderr without which it did not end well, whatever its exit code says. */
  readonly witness?: string;
}

/** A command that runs, with its streams open. */
export interface Running {
  readonly stdin: Writable;
  readonly stdout: Readable;
  /** Settles when it ended: rejects with a {@link Failure} on a signal or an exit code other than 0. */
  readonly done: Promise<void>;
  kill(): void;
}

/** Something on which a command can be run; `local`, and by later scripts `ssh://` and `ssm://`. */
export interface Host {
  readonly name: string;
  start(command: Command): Running;
  /** Runs to the end and returns what it wrote to stdout. */
  run(command: Command, input?: string): Promise<string>;
  /** The same host, whose commands an interruption does not end: for cleaning up behind one. */
  readonly uninterrupted: Host;
}

const STDERR_KEPT = 4000;

/** A command as a person would type it; the values of its environment that are secrets are redacted. */
export function show({ argv, env = {} }: Command): string {
  const variables = Object.entries(env).map(([name, value]) => `${name}=${quote(String(value))}`);
  // Masked before they are quoted as well: quoting changes a secret that has a quote in it.
  return mask([...variables, ...argv.map((word) => quote(mask(word)))].join(' '));
}

/** POSIX single quotes, and only where they are needed: dash knows no other form. */
export function quote(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

interface LocalOptions {
  /** Ends the commands when aborted. */
  signal?: AbortSignal | undefined;
  /** Hears of each command before it starts. */
  onStart?: ((command: Command) => void) | undefined;
  /** A command that does not heed SIGTERM is killed after this long. */
  killAfterMs?: number;
}

/** The machine that the script runs on. */
export function localHost({ signal, onStart, killAfterMs = 5_000 }: LocalOptions = {}): Host {
  const start = (command: Command): Running => {
    signal?.throwIfAborted();
    onStart?.(command);
    const [file, ...rest] = command.argv;
    const child = spawn(file, rest, {
      env: { ...process.env, ...revealed(command.env) },
      ...(command.cwd === undefined ? {} : { cwd: command.cwd }),
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    if (signal) endOnAbort(child, signal, killAfterMs);
    // A command that ended early closes its input; its exit code says why, not our EPIPE.
    child.stdin.on('error', () => {});
    return {
      stdin: child.stdin,
      stdout: child.stdout,
      done: ended(child, command, signal),
      kill: () => child.kill(),
    };
  };
  return {
    name: hostname(),
    start,
    get uninterrupted() {
      return localHost({ onStart });
    },
    async run(command, input) {
      const running = start(command);
      running.stdin.end(input ?? '');
      const [text] = await Promise.all([collect(running.stdout), running.done]);
      return text;
    },
  };
}

function revealed(env: Command['env'] = {}): Record<string, string> {
  return Object.fromEntries(
    Object.entries(env).map(([name, value]) => [name, typeof value === 'string' ? value : value.reveal()]),
  );
}

async function collect(stream: Readable): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString('utf8');
}

function ended(child: ChildProcess, command: Command, interruption?: AbortSignal): Promise<void> {
  let stderr = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    stderr = (stderr + text).slice(-STDERR_KEPT);
  });
  const done = new Promise<void>((resolve, reject) => {
    child.on('error', (error: NodeJS.ErrnoException) => {
      reject(new CommandFailure(command, unstartable(error, command), null));
    });
    child.on('close', (code, signal) => {
      if (code === 0 && interruption?.aborted) return reject(interruption.reason);
      const how = signal ? `was killed by ${signal}` : misfortune(code, stderr, command);
      if (how === undefined) return resolve();
      reject(new CommandFailure(command, lastWords(stderr) || how, code, how, stderr));
    });
  });
  // Whoever started it awaits `done` later; until then a rejection is not an unhandled one.
  done.catch(() => {});
  return done;
}

function misfortune(code: number | null, stderr: string, { witness }: Command): string | undefined {
  if (code !== 0) return `exited with ${code}`;
  if (witness === undefined || stderr.split('\n').includes(witness)) return undefined;
  return 'ended before its command did';
}

function endOnAbort(child: ChildProcess, signal: AbortSignal, killAfterMs: number): void {
  const end = () => {
    child.kill();
    const late = setTimeout(() => child.kill('SIGKILL'), killAfterMs);
    child.once('exit', () => clearTimeout(late));
  };
  signal.addEventListener('abort', end, { once: true });
  child.once('exit', () => signal.removeEventListener('abort', end));
}

function unstartable({ code, message }: NodeJS.ErrnoException, { argv: [file], cwd }: Command): string {
  // The kernel's answer is the same whichever of the two is missing.
  if (code === 'ENOENT' && cwd !== undefined && !existsSync(cwd)) return `${cwd} is not there to run it in`;
  if (code === 'ENOENT') return `${file}: command not found`;
  return code === 'EACCES' ? `${file}: permission denied` : message;
}

/** What a command wrote last that says something, on one line. */
function lastWords(stderr: string): string {
  const said = stderr.split('\n').filter((line) => line.trim() !== '');
  const errors = said.filter((line) => /error|fatal|denied|no such|cannot|refused|not /i.test(line));
  return (errors[0] ?? said.at(-1) ?? '').trim();
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
