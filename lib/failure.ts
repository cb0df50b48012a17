import { mask } from './secret.ts';

/** The exit codes of every script; `docs/runbook.md` lists them for users. */
export const EXIT = { done: 0, failed: 1, usage: 2, problem: 3, locked: 75 } as const;

type ExitCode = (typeof EXIT)[keyof typeof EXIT];

interface FailureOptions {
  /** Exit code of the script (default: 1). */
  exit?: ExitCode;
  /** The command, or the act, with which the operator goes on. */
  next?: string;
  cause?: unknown;
}

/** An expected failure: its message is one line that says what is wrong and with which value. */
export class Failure extends Error {
  readonly exit: ExitCode;
  readonly next: string | undefined;

  constructor(message: string, { exit = EXIT.failed, next, cause }: FailureOptions = {}) {
    super(message, { cause });
    this.name = 'Failure';
    this.exit = exit;
    this.next = next;
  }
}

/** Several problems found before anything was changed; they are reported together, a line each. */
export class Problems extends Failure {
  readonly problems: readonly Failure[];

  constructor(problems: readonly Failure[]) {
    super(`${problems.length} problems`, {
      exit: problems.some((p) => p.exit === EXIT.usage) ? EXIT.usage : EXIT.failed,
    });
    this.name = 'Problems';
    this.problems = problems;
  }
}

/** Thrown into whatever runs when a signal arrives; the script exits with 128 + the signal's number. */
export class Interrupted extends Error {
  readonly signal: 'SIGINT' | 'SIGTERM' | 'SIGHUP';

  constructor(signal: 'SIGINT' | 'SIGTERM' | 'SIGHUP') {
    super(`interrupted by ${signal}`);
    this.name = 'Interrupted';
    this.signal = signal;
  }
}

/** Runs every check, even after one failed; throws all that failed as one {@link Problems}, or returns what each found. */
export async function checkAll<const T extends ReadonlyArray<() => unknown>>(
  checks: T,
): Promise<{ -readonly [K in keyof T]: Awaited<ReturnType<T[K]>> }> {
  const outcomes = await Promise.allSettled(checks.map(async (check) => check()));
  const reasons = outcomes.flatMap((o) => (o.status === 'rejected' ? [o.reason] : []));
  const unexpected = reasons.find((r) => !(r instanceof Failure));
  if (unexpected) throw unexpected;
  throwAll(reasons.flatMap((r) => (r instanceof Problems ? [...r.problems] : [r as Failure])));
  return outcomes.map((o) => (o as PromiseFulfilledResult<unknown>).value) as never;
}

/** Throws what was found, if anything was. */
export function throwAll(problems: readonly Failure[]): void {
  if (problems.length === 1) throw problems[0];
  if (problems.length > 1) throw new Problems(problems);
}

/** Whatever ended a run as one line: what failed, and how to go on. */
export function sentence(error: unknown): string {
  if (error instanceof Problems) return error.problems.map(sentence).join('; ');
  const message = messageOf(error);
  if (error instanceof Failure) return error.next ? `${message}. Next: ${error.next}` : message;
  if (error instanceof Interrupted) return message;
  return `unexpected: ${message}. Next: run it with --verbose and report what it shows`;
}

/**
 * One line of whatever was thrown, for messages that quote a cause: without secrets that are known, and without the
 * text that a parser could not read, which may be one that is not known.
 */
export function messageOf(error: unknown): string {
  const message = error instanceof Error ? error.message || error.name : String(error);
  if (error instanceof SyntaxError && message.endsWith('is not valid JSON')) return 'is not valid JSON';
  return mask(message).split('\n')[0] ?? '';
}

/** Where an error was thrown, without its message, of which {@link messageOf} tells what may be told. */
export function framesOf(error: Error): string {
  return (error.stack ?? '')
    .split('\n')
    .filter((line) => /^\s+at /.test(line))
    .join('\n');
}
