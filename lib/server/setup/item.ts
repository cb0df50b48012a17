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
  readonly only?: { readonly when: Command; readonly otherwise: string };
  /** Makes it so, whatever an interrupted run left behind. */
  readonly make: readonly Act[];
}

/** A constant piece of shell with its arguments `$1`, `$2` …, as root. */
export const shell = (text: string, ...args: string[]): Command => ({
  argv: ['sh', '-c', text, 'sh', ...args],
  root: true,
});

/** A program with its arguments, as root. */
export const rooted = (...argv: [string, ...string[]]): Command => ({ argv, root: true });
