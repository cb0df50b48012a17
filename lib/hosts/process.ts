import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import type { Readable, Transform } from 'node:stream';
import { type Command, CommandFailure, failureOf } from '../command.ts';
import { duration } from '../format.ts';
import type { Running } from '../host.ts';
import type { Secret } from '../secret.ts';

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
