import type { Readable, Writable } from 'node:stream';
import type { Command } from './command.ts';
import type { Secret } from './secret.ts';

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
