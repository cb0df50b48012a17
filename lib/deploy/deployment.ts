import { EXIT, Failure } from '../failure.ts';
import type { Step } from '../output.ts';
import type { Command } from '../shell.ts';
import { type ImageReference, imageText, isTag, parseImage } from './settings.ts';

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
  /** The version that was gone back to. */
  readonly returnedTo?: string | undefined;
  readonly ms: number;
}

/** The records in a file, oldest first; a line that was cut off by a full disk is none. */
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
  const found: DeploymentRecord[] = [];
  for (const record of records.toReversed())
    if (record.verified && !found.some((one) => sameImages(one, record))) found.push(record);
  return found;
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

/** What going back over migrations means, for whoever decides. */
export const describeMigrations = (migrations: readonly DeploymentRecord[]): string[] =>
  migrations.map(
    ({ version, backup }) =>
      `${version} migrated the database since: its schema stays as it is` +
      (backup === undefined
        ? ', and no backup was taken before it'
        : `; the backup before it is ${backup}: scripts/backup/restore.ts ${backup}`),
  );

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

/** What the command line names: exactly one of a version, images, and a commit. */
export interface Named {
  version?: string | undefined;
  images?: readonly string[] | undefined;
  commit?: string | undefined;
}

/** @throws Failure with exit 2 when it names nothing, too much, or something that is not the same tomorrow */
export function wantedOf({ version, images = [], commit }: Named, names: readonly ImageReference[]): Wanted {
  const given = [version, images[0], commit].filter((one) => one !== undefined);
  if (given.length !== 1)
    throw usage(
      given.length === 0
        ? 'nothing to deploy is named'
        : `${given.join(' and ')} cannot be deployed together`,
      'name one of: VERSION, --image REF, --commit SHA',
    );
  if (commit !== undefined) return { commit };
  if (version !== undefined) {
    if (!isTag(version))
      throw usage(`${version} cannot be the tag of an image`, 'name a version such as 1.4.0');
    refuseMoving(version, names[0]);
    return { version, images: names.map((name) => ({ ...name, tag: version })) };
  }
  const wanted = images.map((raw) => named(raw, names));
  const missing = names.filter((name) => !wanted.some((one) => sameName(one, name)));
  if (missing.length > 0)
    throw usage(
      `no --image for ${missing.map(imageText).join(', ')}, which IMAGE names`,
      'name one for each',
    );
  const [first] = wanted;
  return { version: first?.tag ?? first?.digest?.slice(7, 19) ?? '', images: wanted };
}

const usage = (message: string, next: string) => new Failure(message, { exit: EXIT.usage, next });

const sameName = (a: ImageReference, b: ImageReference) =>
  a.registry === b.registry && a.repository === b.repository;

function named(raw: string, names: readonly ImageReference[]): ImageReference {
  let image: ImageReference;
  try {
    image = parseImage(raw);
  } catch (error) {
    throw usage(
      `--image ${raw}: ${(error as Error).message}`,
      'name it as repository:tag or repository@sha256:…',
    );
  }
  if (!names.some((name) => sameName(name, image)))
    throw usage(`--image ${raw} is none of IMAGE=${names.map(imageText).join(',')}`, 'correct one of them');
  if (image.digest === undefined) refuseMoving(image.tag, image);
  return image;
}

/** A tag that is moved with each build names no version: nothing could be rolled back to it. */
function refuseMoving(tag: string | undefined, image: ImageReference | undefined): void {
  if (tag !== undefined && tag !== 'latest') return;
  const name = image
    ? imageText({ registry: image.registry, repository: image.repository } as ImageReference)
    : '';
  throw usage(
    `${name}:${tag ?? 'latest'} is another image after each build, so that one could not go back to it`,
    `deploy a version, a commit, or a digest: ${name}@sha256:…`,
  );
}
