import { EXIT, Failure, Interrupted } from '../failure.ts';
import type { Report } from '../report.ts';
import { type Entry, fetchManifest } from './catalog.ts';
import { examiner, newestSound } from './examine.ts';
import { isTimely } from './listing.ts';
import type { PartKind } from './manifest.ts';
import { recallManifest } from './memory.ts';
import { clean } from './schema.ts';
import { Corrupted, type Store, Unreadable } from './store.ts';

interface Where {
  app: string;
  store: Store;
  /** Where this host remembers the manifests that it wrote. */
  stateDir: string;
  /** No manifest is asked for: a monitor comes often. */
  remembered?: boolean;
}

export interface PartName {
  kind: PartKind;
  name: string;
}

/** The parts of a backup; only its databases where its manifest is neither remembered here nor may be read. */
export interface KnownParts {
  parts: PartName[];
  whole: boolean;
}

/** Tells the parts of backups: from this host's memory, from the manifest, or else by the keys of their dumps. */
export function partsReader({
  app,
  store,
  stateDir,
  remembered,
}: Where): (entry: Entry) => Promise<KnownParts> {
  // A role that may not read one manifest may read none: it is asked for once.
  let readable = !remembered;
  return async (entry) => {
    let manifest = recallManifest(stateDir, app, entry.id);
    if (!manifest && readable && entry.state !== 'unfinished') {
      try {
        manifest = await fetchManifest(store, app, entry);
      } catch (error) {
        if (error instanceof Interrupted || !(error instanceof Failure)) throw error;
        readable = error instanceof Corrupted;
      }
    }
    if (manifest) return { parts: manifest.parts.map(({ kind, name }) => ({ kind, name })), whole: true };
    return { parts: entry.objects.flatMap(({ key }) => partOfKey(key) ?? []), whole: false };
  };
}

/** The database whose dump is stored under a key of a backup's own folder, or nothing. */
function partOfKey(key: string): PartName | undefined {
  const [, own, end] = /^backups\/[^/]+\/(.+)\.(dump|dump\.zst|db\.zst)(?:\.age)?$/.exec(key) ?? [];
  if (own === undefined) return undefined;
  const name = own.replaceAll(/%(?:25|2F|5C)/g, decodeURIComponent);
  if (!clean.safeParse(name).success) return undefined;
  return { kind: end === 'db.zst' ? 'sqlite' : 'postgres', name };
}

/** The last complete backup, and what it has. */
interface Before extends KnownParts {
  id: string;
  /** The last that this host knows, where it may not read newer ones of another host. */
  older: { id: string; parts: PartName[] } | undefined;
}

/** The complete backup that the next one is held against; nothing where there is none. */
export async function lastComplete(entries: readonly Entry[], where: Where): Promise<Before | undefined> {
  const { newest, passed } = await newestSound(entries, examiner(where));
  const unread = passed.find((entry) => entry.doubt instanceof Unreadable && isTimely(entry));
  const last = unread ?? newest ?? passed[0];
  if (!last) return undefined;
  const known = last.manifest
    ? { parts: last.manifest.parts, whole: true }
    : await partsReader({ ...where, remembered: true })(last);
  const older = unread && newest?.manifest && { id: newest.id, parts: newest.manifest.parts };
  return { id: last.id, ...known, older };
}

/**
 * Refuses a backup that lacks a part of the last complete one: who mistypes a setting would learn of it when it is
 * needed.
 * @returns a refusal for each part that is missing; where it cannot be known, that is warned of
 */
export function lacking(
  before: Before | undefined,
  parts: readonly PartName[],
  without: readonly string[],
  report: Pick<Report, 'warn'>,
): Failure[] {
  const named = parts
    .filter(({ name }) => without.includes(name))
    .map(({ kind, name }) => {
      return new Failure(`--without ${name}: the settings name the ${kind} ${name}`, {
        exit: EXIT.usage,
        next: 'take it out of the settings, or take a partial backup by --only',
      });
    });
  if (!before) return named;
  const isMissing = ({ kind, name }: PartName) =>
    !without.includes(name) && !parts.some((part) => part.kind === kind && part.name === name);
  if (!before.whole) {
    report.warn(
      `whether the last complete backup, ${before.id}, has a directory or a bucket that this one lacks is unknown: ` +
        'this host does not remember it, and may not read its manifest',
    );
  }
  for (const part of before.older?.parts.filter(isMissing) ?? []) {
    // The newer one's databases are known by their dumps.
    if (part.kind === 'postgres' || part.kind === 'sqlite') continue;
    report.warn(
      `${before.older?.id}, the last complete backup that this host knows, has the ${part.kind} ${part.name}; ` +
        'these settings do not name it',
    );
  }
  return [
    ...named,
    ...before.parts.filter(isMissing).map(
      ({ kind, name }) =>
        new Failure(
          `the last complete backup, ${before.id}, has the ${kind} ${name}; these settings do not name it`,
          {
            exit: EXIT.usage,
            next: `name it in ${SETTING[kind]}, or say that it is gone: --without ${name}`,
          },
        ),
    ),
  ];
}

const SETTING: Record<PartKind, string> = {
  postgres: 'BACKUP_DATABASES',
  sqlite: 'BACKUP_DATABASES',
  directory: 'BACKUP_DIRECTORIES',
  bucket: 'BACKUP_BUCKETS',
};
