import { hostname, userInfo } from 'node:os';
import type { Command } from '../command.ts';
import type { Context } from '../definition.ts';
import { Failure } from '../failure.ts';
import type { Step } from '../output.ts';
import type { DeploySettings, ImageReference } from './settings.ts';

/** The settings of a deployment, and those that every script has. */
export type AppSettings = Context['settings'] & DeploySettings;

/** What an operator asks for. */
export type DeployRequest =
  | { readonly version: string; readonly images: readonly ImageReference[] }
  | { readonly commit: string };

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

/** How a release is going to be deployed, as a preflight found it: nothing was changed yet. */
export interface Plan {
  readonly version: string;
  readonly commit?: string;
  /** What runs in each service now, and what will: images, or how they will be made. */
  readonly changes: ReadonlyArray<{ service: string; now: string; next: string }>;
  /** Makes the release available where the app runs; nothing that runs notices. */
  obtain(step: Step): Promise<Release>;
  /** What each step is going to do, as a dry run prints it. */
  readonly commands: Record<'obtain' | 'migrate' | 'switch', ReadonlyArray<Command | string>>;
}

/** What the containers of a release may be started with, compared with those that run. */
export type Environment =
  /** With the same variables, or nothing is changed. */
  | 'as it runs'
  /** With others, on purpose. */
  | 'may differ'
  /** It is rolled back to: what still runs of it is left alone. */
  | 'as it was';

/**
 * An app where it is deployed: on a host, on a fleet or in a service of ECS. The scripts call these steps in order;
 * what is the same everywhere is theirs.
 */
export interface DeployedApp {
  /** Its platform finishes by itself what was begun: an interruption rolls nothing back. */
  readonly goesOn?: true;
  /** Finds what an earlier run left half done. @returns a warning for the operator, if there is one */
  unfinished(): Promise<string | undefined>;
  /** What runs now; undefined where containers are missing or of different versions. */
  running(): Promise<Release | undefined>;
  /** Checks everything that the update needs. @throws Problems with all that is wrong */
  preflight(request: DeployRequest): Promise<Plan>;
  /** Like `preflight`, for a release that ran here before. @throws Problems when it cannot run any more */
  preflightRelease(release: Release): Promise<Plan>;
  /** Once per deployment, with the new image. `onLine` gets each line that it writes. */
  migrate(release: Release, command: string, onLine: (line: string) => void): Promise<void>;
  /** Ends when all containers are those of the release and healthy. Safe to repeat after being cut off. */
  switchTo(release: Release, step: Step): Promise<void>;
  /** Why it went wrong, before its containers are gone: their last lines, and what their health checks said. */
  postmortem(release: Release): Promise<string[]>;
  records(): Promise<DeploymentRecord[]>;
  record(record: DeploymentRecord): Promise<void>;
  /** Removes the images that none of these releases needs. @returns how many */
  prune(keep: readonly Release[]): Promise<number>;
}

/** Somebody else deploys there now: a rollback would undo theirs. */
export class Superseded extends Failure {}

/** Who deploys, for the records and for whoever finds a deployment under way. */
export const who = (): string => process.env.GITHUB_ACTOR ?? `${userInfo().username}@${hostname()}`;

/** One deployment, or a migration by itself, as one line of JSON: written when it ended, well or not. */
export interface DeploymentRecord extends Release {
  /** ISO 8601, UTC: when it ended. */
  readonly at: string;
  readonly did: 'update' | 'rollback' | 'migrate' | 'found';
  readonly who: string;
  /** The version that ran before. */
  readonly from?: string | undefined;
  readonly migrated: boolean;
  /** The backup that was taken before it. */
  readonly backup?: string | undefined;
  /** It was seen to run and to answer. */
  readonly verified: boolean;
  /** Why it was not. */
  readonly failed?: string | undefined;
  /** The version that was rolled back to. */
  readonly returnedTo?: string | undefined;
  readonly ms: number;
}

/** The records in a file, oldest first; a line that a full disk cut off is left out. */
export function parseRecords(text: string): DeploymentRecord[] {
  return text.split('\n').flatMap((line) => {
    try {
      return line === '' ? [] : [JSON.parse(line) as DeploymentRecord];
    } catch {
      return [];
    }
  });
}

/** Whether two releases are the same images in the same services. */
export function sameImages(a: Release, b: Release): boolean {
  const services = Object.keys(a.images);
  return (
    services.length === Object.keys(b.images).length &&
    services.every((service) => a.images[service]?.id === b.images[service]?.id)
  );
}

/** The verified releases, newest first, each once. */
export function verifiedReleases(records: readonly DeploymentRecord[]): DeploymentRecord[] {
  const newest = records.filter(({ verified }) => verified).toReversed();
  return newest.filter((record, i) => newest.findIndex((one) => sameImages(one, record)) === i);
}

/**
 * The release that a rollback goes to: the newest verified one that is not what runs, or the newest verified one
 * of the version that is asked for.
 * @throws Failure when there is none
 */
export function rollbackTarget(
  records: readonly DeploymentRecord[],
  running: Release | undefined,
  version?: string,
): DeploymentRecord {
  const verified = verifiedReleases(records);
  const found = verified.find((one) =>
    version === undefined ? !running || !sameImages(one, running) : one.version === version,
  );
  if (found) return found;
  const known = [...new Set(verified.map((one) => one.version))].join(', ');
  throw new Failure(
    version === undefined
      ? 'no earlier deployment was verified here: there is nothing to go back to'
      : `no deployment of ${version} was verified here`,
    { next: known === '' ? 'deploy a version: update-deployment VERSION' : `choose one of: ${known}` },
  );
}

/** The records after `target` that changed the database's schema, or may have. */
export function migrationsSince(
  records: readonly DeploymentRecord[],
  target: DeploymentRecord,
): DeploymentRecord[] {
  const last = records.findLastIndex((one) => one.verified && sameImages(one, target));
  return records.slice(last + 1).filter((one) => one.migrated);
}

/** What rolling back over migrations means, for whoever decides. */
export const describeMigrations = (migrations: readonly DeploymentRecord[]): string[] =>
  migrations.map(
    ({ version, backup }) =>
      `${version} migrated the database since: its schema stays as it is` +
      (backup === undefined
        ? ', and no backup was taken before it'
        : `; the backup before it is ${backup}: scripts/backup/restore.ts ${backup}`),
  );
