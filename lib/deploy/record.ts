import { Failure } from '../failure.ts';
import type { Release } from './strategy.ts';

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
