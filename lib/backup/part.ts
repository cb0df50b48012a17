import type { Command } from '../command.ts';
import type { Host } from '../host.ts';
import type { Report, Step } from '../report.ts';
import type { PartKind, PartRecord } from './manifest.ts';
import type { Opener, Sealer } from './seal.ts';
import type { Store } from './store.ts';

/** What a part has to work with while it is backed up. */
export interface Work {
  /** The backup's id. */
  id: string;
  host: Host;
  store: Store;
  sealer: Sealer;
  report: Report;
  signal: AbortSignal;
  appDir: string;
  /** Where the host remembers what it has stored (`lib/state.ts`); not there in a dry run. */
  stateDir: string | undefined;
  /** An empty directory or bucket is what the operator expects. */
  allowEmpty: boolean;
}

/** One database, one directory, one bucket: what the settings name. */
export interface Source {
  readonly kind: PartKind;
  /** Unique among the parts, and fit for a key. */
  readonly name: string;
  /** As the manifest and messages show it; without passwords. */
  readonly uri: string;
  /**
   * Looks whether it can be backed up; changes nothing.
   * @throws Failure or Problems with all that would go wrong
   */
  prepare(work: Work): Promise<Prepared>;
}

/** A part that was found fit to be backed up. */
export interface Prepared {
  readonly source: Source;
  /** What a dry run prints: the very commands that {@link save} runs. */
  readonly plan: readonly (Command | string)[];
  save(step: Step): Promise<PartRecord>;
  /**
   * Right before the manifest is written.
   * @throws Failure when something that was stored, or that was there already, is no more: a prune elsewhere
   */
  confirm?(): Promise<void>;
  /** After the manifest was written: what the part remembers for the next backup becomes true. */
  committed?(): Promise<void>;
}

/** What a part has to work with while it is restored. */
export interface Recovery {
  /** The backup that is restored. */
  id: string;
  host: Host;
  store: Store;
  opener: Opener;
  report: Report;
  signal: AbortSignal;
  appDir: string;
  stateDir: string;
  /** Files that were setuid are to be so again. */
  allowSetuid?: boolean | undefined;
}

/** A part of a backup, and how it comes back. Nothing live is touched before {@link Restored.swapIn}. */
export interface Restorer {
  readonly part: PartRecord;
  /** Looks whether it can be restored: service, disk space, names that are taken. @throws Failure or Problems */
  prepare(): Promise<void>;
  /** What a dry run prints. */
  readonly plan: readonly (Command | string)[];
  /** Brings it back beside the live one. What a failed or killed run left there is cleared first. */
  restoreBeside(step: Step): Promise<Restored>;
}

/** A part that was brought back beside the live one. */
export interface Restored {
  /** Where it is now, for messages. */
  readonly place: string;
  /** What differs from the manifest, a line each; empty when it is what was backed up. */
  compare(): Promise<string[]>;
  /** Puts it into the live one's place and keeps that as `<name>_before_<id>`; returns what was kept. */
  swapIn(): Promise<string>;
  /** After {@link swapIn}: puts the live one back, because another part could not be swapped in. */
  swapBack(): Promise<void>;
  /** Removes what was brought back. */
  discard(): Promise<void>;
}
