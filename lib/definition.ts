import type { appSettings } from './app.ts';
import type { Command, cmd } from './command.ts';
import type { Unreached } from './hosts.ts';
import type { Report, Step } from './output.ts';
import type { Settings, Values } from './settings.ts';
import type { Host, Shell } from './shell.ts';

/** A flag as commander writes it, and the type of its value. */
export interface Flag<T> {
  readonly flags: string;
  readonly about: string;
  readonly parse?: (raw: string) => T;
  /** It may be given several times: all its values, in order. */
  readonly repeats?: true;
}

/** A flag that is there or not: `flag('--force', 'overwrite')`. */
export const flag = (flags: string, about: string): Flag<boolean> => ({ flags, about });
/** A flag with a value; `parse` throws what is wrong with it. */
export const option = <T = string>(flags: string, about: string, parse?: (raw: string) => T): Flag<T> => ({
  flags,
  about,
  ...(parse ? { parse } : {}),
});

/** A flag with a value that may be given several times. */
export const repeatable = (flags: string, about: string): Flag<string[]> => ({ flags, about, repeats: true });

export type Flags = Record<string, Flag<unknown>>;
type FlagValues<F extends Flags> = { [K in keyof F]: F[K] extends Flag<infer T> ? T | undefined : never };

/** What one script is: this is all that a script file states, apart from its steps. */
export interface Definition<S extends Settings, F extends Flags> {
  /** How it is called, where another area has a script of the same file name. */
  name?: string;
  /** What it does, in one line. */
  does: string;
  /** Where it stands in `docs/runbook.md`. */
  step: string;
  example: string;
  settings: S;
  flags?: F;
  /** Operands: `{ '[id]': 'the backup (default: latest)' }`. */
  operands?: Record<string, string>;
  /** Behind one of these operands nothing is a flag of ours: it is a command of the operator's. */
  literalAfter?: readonly string[];
  /** It changes something: `--dry-run` exists. */
  changes?: boolean;
  /** It answers something: `--json` exists. */
  reports?: boolean;
  /** It asks before it acts: `--yes` exists. */
  asks?: boolean;
  /** Runs with the same lock exclude each other on a host. */
  lock?: string;
  /** After a signal it has this long to undo what it did, in milliseconds (default: half a minute). */
  graceMs?: number;
  /** It works on an account, a registry or a checkout and on no host: TARGET means nothing to it. */
  targetless?: true;
  /** The flag with which no host is asked, whatever TARGET names. */
  hostless?: string;
  /** What TARGET may name, where the settings have it: by default one host. Where they do not, only this machine. */
  reaches?: 'host' | 'hosts' | 'hosts that answer' | 'hosts or service';
  run(context: Context<S, F>): Promise<void>;
}

/** What a script's steps work with. */
export interface Context<S extends Settings = Settings, F extends Flags = Flags> {
  settings: Values<S> & Values<typeof appSettings>;
  flags: FlagValues<F>;
  operands: string[];
  /** The files that `--env-file` names, for a script that starts another. */
  envFiles: readonly string[];
  report: Report;
  /** This machine, or that of TARGET where the settings have it. */
  host: Host;
  /** Runs a command that only looks, on the host. */
  $: Shell;
  /** A command as data, for `change` and for the host to run. */
  cmd: typeof cmd;
  /** All hosts of TARGET, for a script that reaches several. */
  hosts: readonly Host[];
  /** Those that do not answer, for a script that does without them. */
  unreached: readonly Unreached[];
  /** Aborted when the run is interrupted; pass it to everything that waits. */
  signal: AbortSignal;
  dryRun: boolean;
  json: boolean;
  /**
   * One step that changes something: in a dry run `what` is printed and nothing done. `what` holds the very
   * commands that `act` runs.
   */
  change<T>(
    title: string,
    what: readonly (Command | string)[],
    act: (step: Step) => Promise<T>,
  ): Promise<T | undefined>;
  /** Asks unless `--yes`; without a terminal it refuses (exit 2). Resolves only to go on. */
  confirm(question: string): Promise<void>;
  /** Does it when the run ends, in whatever way; last come, first done. */
  defer(release: () => Promise<void> | void): void;
}
