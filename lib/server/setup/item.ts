import type { Command } from '../../command.ts';

/** A command of the set-up, and what it reads. */
export interface Act extends Command {
  readonly input?: string;
  /** What a dry run prints in place of a long piece of shell that is the same for many items. */
  readonly about?: string;
}

/** One thing that is to be so on the host. It is data, so that a run, a dry run and user data are the same set-up. */
export interface Item {
  readonly title: string;
  /** Succeeds when it is so already; it changes nothing. */
  readonly so: Command;
  /** Succeeds when there is something in its place, which is then changed (`~`) and not created (`+`). */
  readonly there?: Command;
  /** What has to hold first, where a set-up may go on without it. */
  readonly only?: readonly Condition[];
  /** Makes it so, whatever an interrupted run left behind. */
  readonly make: readonly Act[];
  /** It may close the way in. */
  readonly guard?: Guard;
}

/**
 * What is made may close the way in: a timer on the host makes it as it was, unless a new login was seen before. What the
 * timer needs is in a directory of the memory's, which is there from before the first change until that login.
 */
export interface Guard {
  name: string;
  /** Files that become what they were; those that were not there are removed. */
  files: readonly string[];
  /** Shell that makes what runs heed the files again. */
  heed: string;
  /** Succeeds when the way in is seen to be open, as far as the host itself can see that. */
  proof: Act;
}

interface Condition {
  readonly when: Command;
  /** Why it was left out. */
  readonly otherwise: string;
}

/** A constant piece of shell with its arguments `$1`, `$2` …, as root. */
export const shell = (text: string, ...args: string[]): Command => ({
  argv: ['sh', '-c', text, 'sh', ...args],
  root: true,
});

/** A program with its arguments, as root. */
export const rooted = (...argv: [string, ...string[]]): Command => ({ argv, root: true });
