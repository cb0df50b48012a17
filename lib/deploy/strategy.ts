import type { Command } from '../command.ts';
import { Failure } from '../failure.ts';
import type { Step } from '../report.ts';
import type { ImageReference } from './image-reference.ts';
import type { DeploymentRecord } from './record.ts';

/** What an operator asks for. */
export type Wanted =
  | { readonly version: string; readonly images: readonly ImageReference[] }
  | { readonly commit: string };

/** What the containers of a release may be started with, seen from those that run. */
export type Environment =
  /** With the same variables; else nothing is changed. */
  | 'as it runs'
  /** With others, on purpose. */
  | 'may differ'
  /** It is gone back to: what still runs of it is left alone. */
  | 'as it was';

/** One image, so that it is the same one tomorrow. */
export interface Pin {
  /** With the digest that its registry knows it by; for an image that is in none, its tag. */
  readonly reference: string;
  /** The engine's own id of it. */
  readonly id: string;
}

/** A version of the app that can be switched to. */
export interface Release {
  readonly version: string;
  readonly commit?: string;
  /** By service, or by container of a task definition. */
  readonly images: Readonly<Record<string, Pin>>;
  /** On ECS, the revision of the task definition: `spotter:7`. */
  readonly revision?: string | undefined;
}

/** What is known of a release before anything was changed. */
export interface Prospect {
  readonly version: string;
  readonly commit?: string;
  /** What runs in each service now, and what will: images, or how they will be made. */
  readonly changes: ReadonlyArray<{ service: string; now: string; next: string }>;
  /** Brings what is needed to the host; nothing that runs notices. */
  obtain(step: Step): Promise<Release>;
  /** What each step is going to do, as a dry run prints it. */
  readonly plan: { obtain: readonly Plan[]; migrate: readonly Plan[]; switch: readonly Plan[] };
}

type Plan = Command | string;

/**
 * How an app is deployed where it runs. `update-deployment` and `rollback` call these in order; everything that is
 * the same on one host, on a fleet and on ECS is theirs.
 */
export interface Strategy {
  /** What it has begun goes on without us: an interruption takes nothing back. */
  readonly goesOn?: true;
  /** Takes what an earlier run left half done into account. @returns what to tell the operator of it, if anything */
  unfinished(): Promise<string | undefined>;
  /** What runs now; undefined where containers are missing or of different versions. */
  running(): Promise<Release | undefined>;
  /** Looks at everything that the update needs. @throws Problems with all that is wrong */
  preflight(wanted: Wanted): Promise<Prospect>;
  /** Like `preflight`, for a release that ran here before. @throws Problems when it cannot run any more */
  preflightReturn(release: Release): Promise<Prospect>;
  /** Once per deployment, on the new image. */
  migrate(release: Release, command: string, say: (line: string) => void): Promise<void>;
  /** Ends when all containers are those of the release and healthy. Safe to repeat after being cut off. */
  switchTo(release: Release, who: string, step: Step): Promise<void>;
  /** Why it went wrong, before its containers are gone: their last lines, and what their health checks said. */
  postmortem(release: Release): Promise<string[]>;
  records(): Promise<DeploymentRecord[]>;
  record(record: DeploymentRecord): Promise<void>;
  /** Removes images that are none of these releases'. @returns how many */
  prune(keep: readonly Release[]): Promise<number>;
}

/** Somebody else deploys there now: going back would take theirs away. */
export class Superseded extends Failure {}
