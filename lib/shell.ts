import { type ChildProcess, spawn as spawnProcess } from 'node:child_process';
import { EventEmitter } from 'node:events';
import { existsSync } from 'node:fs';
import type { Readable, Transform, Writable } from 'node:stream';
import {
  absent,
  type Command,
  CommandFailure,
  cmd,
  failureOf,
  OPTIONS,
  programOf,
  show,
  type Word,
  zx,
} from './command.ts';
import { Failure } from './failure.ts';
import { duration } from './format.ts';
import { Secret } from './secret.ts';

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
  {
    env: added = {},
    cwd,
    detached = false,
  }: Pick<Command, 'cwd'> & { env?: Command['env'] | undefined; detached?: boolean } = {},
): Child {
  const env = { ...process.env };
  for (const [name, value] of Object.entries(added))
    env[name] = value instanceof Secret ? value.reveal() : value;
  const where = cwd === undefined ? {} : { cwd };
  return spawnProcess(file, args, { env, ...where, stdio: 'pipe', detached }) as ChildProcess & Child;
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
  let refused: unknown;
  const start = (text: string) => {
    try {
      child = spawn(text);
    } catch (error) {
      refused = error;
      throw error;
    }
    return seenByZx(child);
  };
  const ended = zx()({ ...OPTIONS, spawn: start as never, signal: new AbortController().signal })(
    Object.assign([text], { raw: [text] }),
  );
  ended.catch(() => {});
  if (!child) throw notStarted(refused as Error, command, options.on);
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

function notStarted(error: NodeJS.ErrnoException, command: Command, on: string | undefined): Error {
  // Only the kernel names a call: all else was said in words already.
  if (error.syscall === undefined) return error;
  const { cwd } = command;
  const words =
    // The kernel's answer is the same whichever of the two is missing.
    (error.code === 'ENOENT' && cwd !== undefined && !existsSync(cwd) && absent(cwd)) ||
    (error.code === 'ENOENT' && `${programOf(command)}: command not found`) ||
    (error.code === 'EACCES' && `${programOf(command)}: permission denied`) ||
    error.message;
  return new CommandFailure({ command, words, code: null, on });
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
export function killGroup(child: Child, signal: NodeJS.Signals): void {
  try {
    if (child.pid !== undefined) process.kill(-child.pid, signal);
  } catch {
    // It leads no group, or the group is another user's: sudo passes the signal on.
    child.kill(signal);
  }
}
