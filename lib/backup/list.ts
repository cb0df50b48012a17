import { EXIT, Failure, Interrupted } from '../failure.ts';
import { bytes, count, duration, table } from '../format.ts';
import type { Report } from '../output.ts';
import { type Entry, type Examine, examiner, fetchManifest, newestSound, recallManifest } from './catalog.ts';
import type { PartKind } from './manifest.ts';
import { CLOCK_TOLERANCE_MS, clean } from './schema.ts';
import { Corrupted, type Store, Unreadable } from './store.ts';

/** What a store holds beside the backups' own objects. */
export interface Usage {
  contents: number;
  contentBytes: number;
  free: number | null;
}

export async function usage(store: Store): Promise<Usage> {
  const use: Usage = { contents: 0, contentBytes: 0, free: (await store.free()) ?? null };
  for await (const { bytes } of store.list('content/')) {
    use.contents += 1;
    use.contentBytes += bytes;
  }
  return use;
}

/** A line of 80 columns has so many for the parts. */
const PARTS_WIDTH = 22;

/** The listing that a person reads; `use` where it was looked for. */
export function describeStore(
  uri: string,
  entries: readonly (Entry & { known?: KnownParts })[],
  use: Usage | undefined,
  now: Date,
): string {
  if (entries.length === 0) return `no backups in ${uri}`;
  const rows = entries.flatMap((e) => {
    const [first = '', ...more] = e.known ? wrapped(e.known) : [];
    const age = `${duration(now.getTime() - e.started.getTime())} ago`;
    return [[e.id, age, e.state, bytes(e.bytes), first], ...more.map((line) => ['', '', '', '', line])];
  });
  const own = entries.reduce((sum, e) => sum + e.bytes, 0);
  const lines = [
    `${uri}`,
    table([['backup', 'taken', 'state', 'size', 'parts'], ...rows], [1, 3]),
    `${count(entries.length, 'backup')}, ${bytes(own)}${use ? `; ${stored(use)}` : ''}`,
    ...(use?.free ? [`${bytes(use.free)} free`] : []),
  ];
  return lines.join('\n');
}

/** The names of the parts in lines of a column; `…` where there may be more. */
function wrapped({ parts, whole }: KnownParts): string[] {
  const lines: string[] = [];
  for (const name of [...parts.map((part) => part.name), ...(whole ? [] : ['…'])]) {
    const last = lines.at(-1);
    if (last === undefined || last.length + name.length + 2 > PARTS_WIDTH) lines.push(name);
    else lines[lines.length - 1] = `${last}, ${name}`;
  }
  return lines;
}

const stored = ({ contents, contentBytes }: Usage) =>
  `${count(contents, 'file')} stored once for all, ${bytes(contentBytes)}`;

/**
 * The newest complete backup for a check of its age, and what has to be said of how it was found. Where nothing may be
 * read, names and times are all that there is of those that another host took.
 */
export async function freshest(
  entries: readonly Entry[],
  examine: Examine,
): Promise<{ newest: Entry | undefined; warnings: string[] }> {
  const { newest, passed } = await newestSound(entries, examine);
  const at = passed.findIndex(isTimely);
  const first = passed[at];
  if (!first || !passed.slice(0, at + 1).every(({ doubt }) => doubt instanceof Unreadable))
    return {
      newest,
      warnings: passed.map(({ id, doubt }) => `backup ${id} does not count: ${doubt?.message}`),
    };
  return {
    newest: first,
    warnings: [
      `backup ${first.id} was not read: whether it is one is unknown, its age is that of its name. ` +
        'Next: look with the credentials of a reader, or on the host that takes the backups',
    ],
  };
}

/** What was stored before the time in its id was not taken then. */
const isTimely = ({ started, objects }: Entry): boolean =>
  objects.every(({ modified }) => started.getTime() - modified.getTime() < CLOCK_TOLERANCE_MS);

/** @throws Failure with exit 3 when the newest complete backup is older than `maxAge` milliseconds, there is none, or it is from the future */
export function refuseStale(uri: string, newest: Entry | undefined, maxAge: number, now: Date): void {
  const next = 'look into the log of the last run of backup, and run it again';
  if (!newest) throw new Failure(`no complete backup in ${uri}`, { exit: EXIT.problem, next });
  const age = now.getTime() - newest.started.getTime();
  if (age < -CLOCK_TOLERANCE_MS) {
    throw new Failure(`the newest complete backup, ${newest.id}, is from the future: a clock is wrong`, {
      exit: EXIT.problem,
      next: `compare \`date -u\` (${now.toISOString()}) with a clock you trust, here and on the app's host`,
    });
  }
  if (age <= maxAge) return;
  throw new Failure(
    `the newest complete backup, ${newest.id}, is ${duration(age)} old, allowed is ${duration(maxAge)}`,
    {
      exit: EXIT.problem,
      next,
    },
  );
}

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
