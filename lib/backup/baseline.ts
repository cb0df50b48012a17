import { EXIT, Failure, Interrupted } from '../failure.ts';
import type { Report } from '../report.ts';
import { type Entry, fetchManifest } from './catalog.ts';
import { examiner, newestSound } from './examine.ts';
import type { PartKind } from './manifest.ts';
import { recallManifest } from './memory.ts';
import { clean } from './schema.ts';
import { Corrupted, type Store } from './store.ts';

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

/**
 * Refuses a backup that lacks a part of the last complete one: who mistypes a setting would learn of it when it is
 * needed.
 * @returns a refusal for each part that is missing; where it cannot be known, that is warned of
 */
export async function lacking(
  entries: readonly Entry[],
  parts: readonly PartName[],
  without: readonly string[],
  where: Where,
  report: Pick<Report, 'warn'>,
): Promise<Failure[]> {
  const named = parts
    .filter(({ name }) => without.includes(name))
    .map(({ kind, name }) => {
      return new Failure(`--without ${name}: the settings name the ${kind} ${name}`, {
        exit: EXIT.usage,
        next: 'take it out of the settings, or take a partial backup by --only',
      });
    });
  const { newest, passed } = await newestSound(entries, examiner(where));
  const last = newest ?? passed[0];
  if (!last) return named;
  const before = last.manifest
    ? { parts: last.manifest.parts, whole: true }
    : await partsReader({ ...where, remembered: true })(last);
  if (!before.whole) {
    report.warn(
      `whether the last complete backup, ${last.id}, has a directory or a bucket that this one lacks is unknown: ` +
        'this host does not remember it, and may not read its manifest',
    );
  }
  const missing = before.parts.filter(
    ({ kind, name }) =>
      !without.includes(name) && !parts.some((part) => part.kind === kind && part.name === name),
  );
  return [
    ...named,
    ...missing.map(
      ({ kind, name }) =>
        new Failure(
          `the last complete backup, ${last.id}, has the ${kind} ${name}; these settings do not name it`,
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
