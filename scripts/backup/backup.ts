import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import type { Entry, KnownParts, PartName } from '../../lib/backup/catalog.ts';
import { encrypter } from '../../lib/backup/encryption.ts';
import { dateOf, manifestKey } from '../../lib/backup/id.ts';
import type { Manifest, PartRecord, Prepared, Work } from '../../lib/backup/manifest.ts';
import { weight } from '../../lib/backup/retention.ts';
import { sourceSettings } from '../../lib/backup/settings.ts';
import { type Store, Taken, Unreadable } from '../../lib/backup/store.ts';
import { type Context, flag, repeatable } from '../../lib/definition.ts';
import { checkAll, EXIT, Failure, messageOf, throwAll } from '../../lib/failure.ts';
import { bytes, duration, table } from '../../lib/format.ts';
import { script } from '../../lib/script.ts';

await script(import.meta, {
  does: 'Back up the databases, directories and buckets of an app to its store',
  step: 'Back up, every night',
  example: 'npx tsx scripts/backup/backup.ts --env-file /opt/bloaty/.env',
  settings: sourceSettings,
  flags: {
    only: repeatable(
      '--only <part>',
      'only databases, directories, buckets, files, or a part by its name; repeatable',
    ),
    without: repeatable(
      '--without <part>',
      'accept that this part of the last complete backup is gone; repeatable',
    ),
    allowEmpty: flag('--allow-empty', 'accept empty directories and buckets'),
  },
  changes: true,
  reports: true,
  lock: 'backup',
  async run(context) {
    const { settings, flags, host, report, signal, change, dryRun, json } = context;
    const { readEnvironment } = await import('../../lib/env-file.ts');
    const { stateDirectory } = await import('../../lib/state.ts');
    const { catalog, freshId } = await import('../../lib/backup/catalog.ts');
    const { writeManifest } = await import('../../lib/backup/manifest.ts');
    const { openStore } = await import('../../lib/backup/open.ts');
    const { select, sourcesOf } = await import('../../lib/backup/parts.ts');

    // No impact yet.
    const names = Object.keys(sourceSettings).filter((name) => name.startsWith('BACKUP_'));
    const { raw } = await readEnvironment(context.envFiles);
    const all = await sourcesOf(settings, context);
    if (all.length === 0) refuseNothing(nearNames(names, raw, false).refused);
    const sources = select(all, flags.only, 'the settings');
    const store = await openStore(context);
    await store.check();
    const entries = await catalog(store);
    const now = new Date();
    warnOfClock(entries.at(-1), now, report);
    const id = freshId(entries, now);
    const work: Work = {
      ...{ id, host, store, report, signal, appDir: settings.APP_DIR },
      encrypter: await encrypter(settings.BACKUP_RECIPIENT),
      stateDir: dryRun ? undefined : stateDirectory(settings.APP_DIR),
      allowEmpty: flags.allowEmpty === true,
    };
    const stateDir = work.stateDir ?? `${settings.APP_DIR}/.opsbook`;
    let complete = sources.length === all.length;
    const prepared: Prepared[] = [];
    await checkAll([
      async () => {
        const before = await lastComplete(entries, { app: settings.APP, store, stateDir });
        const near = nearNames(names, raw, before?.whole ?? false);
        for (const warning of near.warnings) report.warn(warning);
        throwAll(near.refused);
        const lacks = complete ? lacking(before, sources, flags.without ?? [], report) : [];
        // Whoever asks for these parts only is not told that there are others: it is a partial backup.
        if (lacks.length > 0 && flags.only) complete = false;
        else throwAll(lacks);
      },
      ...sources.map((source, at) => async () => {
        prepared[at] = await source.prepare(work);
      }),
    ]);

    // From here on something is written.
    let manifest: Manifest | undefined;
    try {
      await change('open the backup', [`put ${store.address(`backups/${id}/started.json`)}`], () =>
        claim(work, settings.APP),
      );
      const parts: PartRecord[] = [];
      for (const { source, plan, save } of prepared) {
        const part = await change(`${source.kind} ${source.name}`, plan, save);
        if (part) parts.push(part);
      }
      const key = manifestKey(id, complete);
      manifest = await change('write the manifest', [`put ${store.address(key)}`], async () => {
        await store.settle();
        for (const { confirm } of prepared) await confirm?.();
        const times = { started: (dateOf(id) ?? now).toISOString(), finished: new Date().toISOString() };
        const text = writeManifest({ ...originOf(work, settings.APP), ...times, complete, parts });
        await store.put(key, Buffer.from(text));
        return JSON.parse(text) as Manifest;
      });
    } catch (error) {
      // What another run began is not ours to remove.
      if (!dryRun && !(error instanceof Taken)) await removeUnfinished(work);
      throw error;
    }
    if (!manifest) return;
    await writeState(stateDir, manifest, prepared, report);
    report.summary(describe(manifest));
    report.output('backup-id', id);
    report.data(json ? JSON.stringify(manifest) : id);
  },
});

/** @throws Failure with exit 2: the settings name no part, perhaps because of these slips of the pen */
function refuseNothing(near: readonly Failure[]): never {
  throwAll(near);
  throw new Failure(
    'nothing to back up: BACKUP_DATABASES, BACKUP_DIRECTORIES and BACKUP_BUCKETS are not set',
    { exit: EXIT.usage, next: 'set at least one of them (docs/settings.md)' },
  );
}

/**
 * Names variables that are a slip of the pen away from a setting: the backup would lack a part, and nobody meant it to.
 * Where the parts of the last backup are known, a missing part is noticed by comparing with them; such a variable may
 * then be the app's own, and is only warned of.
 * @returns a refusal for each whose setting is not set, and a warning for each whose setting is
 */
export function nearNames(
  settings: readonly string[],
  raw: Readonly<Record<string, string>>,
  partsKnown: boolean,
): { refused: Failure[]; warnings: string[] } {
  const refused: Failure[] = [];
  const warnings: string[] = [];
  for (const name of Object.keys(raw)) {
    const meant = settings.includes(name) ? undefined : settings.find((setting) => isNear(name, setting));
    if (meant === undefined) continue;
    if (raw[meant]?.trim()) warnings.push(`${name} is not a setting, and not read; ${meant} is`);
    else if (partsKnown && /_(DATABASES|DIRECTORIES|BUCKETS)$/.test(meant))
      warnings.push(`${name} is not a setting, and not read; ${meant} is, and is not set`);
    else
      refused.push(
        new Failure(`${name} is not a setting of ours: ${meant} is, and is not set`, {
          exit: EXIT.usage,
          next: `write ${meant} instead of ${name}, or take it out of the environment and the env file`,
        }),
      );
  }
  return { refused, warnings };
}

function isNear(name: string, setting: string): boolean {
  const ours = 'BACKUP_';
  const most = setting.length - ours.length < 7 ? 1 : 3;
  const away = distance(name.toUpperCase(), setting);
  return away <= (name.toUpperCase().startsWith(ours) ? most : Math.min(most, 2));
}

/** So many letters are to be put in, left out or replaced. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (const [i, letter] of [...a].entries()) {
    const next = [i + 1];
    for (const [j, other] of [...b].entries()) {
      const [across = 0, above = 0, left = 0] = [row[j], row[j + 1], next[j]];
      next.push(Math.min(across + Number(letter !== other), above + 1, left + 1));
    }
    row = next;
  }
  return row.at(-1) ?? 0;
}

/** Warns of a store whose newest backup is from the future: a clock is wrong, and retention goes by clocks. */
function warnOfClock(newest: Entry | undefined, now: Date, report: Context['report']): void {
  if (!newest || newest.started.getTime() <= now.getTime() + 60_000) return;
  const clock = `check this host's clock (${now.toISOString()})`;
  report.warn(`the newest backup, ${newest.id}, is from the future: ${clock}`);
}

/** The last complete backup, and what it has. */
interface Before extends KnownParts {
  id: string;
  /** The last that this host knows, where it may not read newer ones of another host. */
  older: { id: string; parts: PartName[] } | undefined;
}

/** The complete backup that the next one is held against; undefined where there is none. */
export async function lastComplete(
  entries: readonly Entry[],
  where: { app: string; store: Store; stateDir: string },
): Promise<Before | undefined> {
  const { examiner, isTimely, newestSound } = await import('../../lib/backup/examine.ts');
  const { partsReader } = await import('../../lib/backup/catalog.ts');
  const { newest, passed } = await newestSound(entries, examiner(where));
  const unread = passed.find((entry) => entry.doubt instanceof Unreadable && isTimely(entry));
  const last = unread ?? newest ?? passed[0];
  if (!last) return undefined;
  const known = last.manifest
    ? { parts: last.manifest.parts, whole: true }
    : await partsReader(where, false)(last);
  const older = unread && newest?.manifest && { id: newest.id, parts: newest.manifest.parts };
  return { id: last.id, ...known, older };
}

/**
 * Refuses a backup that lacks a part of the last complete one: whoever mistypes a setting would learn of it when the
 * backup is needed.
 * @returns a refusal for each part that is missing; where it cannot be known, that is warned of
 */
export function lacking(
  before: Before | undefined,
  parts: readonly PartName[],
  without: readonly string[],
  report: Pick<Context['report'], 'warn'>,
): Failure[] {
  const refusal = (message: string, next: string) => new Failure(message, { exit: EXIT.usage, next });
  const named = parts
    .filter(({ name }) => without.includes(name))
    .map(({ kind, name }) => {
      const message = `--without ${name}: the settings name the ${kind} ${name}`;
      return refusal(message, 'take it out of the settings, or take a partial backup by --only');
    });
  if (!before) return named;
  const isMissing = ({ kind, name }: PartName) =>
    !without.includes(name) && !parts.some((part) => part.kind === kind && part.name === name);
  if (!before.whole) {
    report.warn(
      `whether the last complete backup, ${before.id}, has a directory or a bucket that this one lacks is unknown: ` +
        'this host has no copy of its manifest, and may not read it',
    );
  }
  for (const { kind, name } of before.older?.parts.filter(isMissing) ?? []) {
    // The newer one's databases are known by their dumps.
    if (kind === 'postgres' || kind === 'sqlite') continue;
    report.warn(
      `${before.older?.id}, the last complete backup that this host knows, has the ${kind} ${name}; ` +
        'these settings do not name it',
    );
  }
  const settings = {
    postgres: 'DATABASES',
    sqlite: 'DATABASES',
    directory: 'DIRECTORIES',
    bucket: 'BUCKETS',
  };
  const missing = before.parts.filter(isMissing).map(({ kind, name }) => {
    const message = `the last complete backup, ${before.id}, has the ${kind} ${name}; these settings do not name it`;
    return refusal(message, `name it in BACKUP_${settings[kind]}, or say that it is gone: --without ${name}`);
  });
  return [...named, ...missing];
}

/** The first write: it proves that we may, and tells of a backup that was never finished who began it. */
async function claim({ id, store }: Work, app: string): Promise<void> {
  const started = { app, id, host: hostname(), pid: process.pid, started: new Date().toISOString() };
  try {
    await store.claim(`backups/${id}/started.json`, Buffer.from(`${JSON.stringify(started)}\n`));
  } catch (error) {
    if (!(error instanceof Taken)) throw error;
    // Two hosts, or two checkouts: the lock of the app's directory does not hold between them.
    throw new Taken(`another run began the backup ${id} of ${app} in ${store.uri} in this very second`, {
      exit: EXIT.locked,
      next: 'see whether it is meant to run in two places, or give them different minutes',
      cause: error,
    });
  }
}

/** What backup it is, and what took it where. */
function originOf({ id, encrypter: { recipient } }: Work, app: string) {
  const packageJson = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  return { app, id, recipient, tool: `opsbook ${JSON.parse(packageJson).version}`, host: hostname() };
}

/** Removes what a failed run stored, where its role may: a full disk would stay full. Otherwise prune does it. */
async function removeUnfinished({ id, store }: Work): Promise<void> {
  try {
    const objects = await Array.fromAsync(store.list(`backups/${id}/`));
    await store.remove(objects.map(({ key }) => key));
  } catch {
    // It is unfinished and says so; the failure that brought us here is the one to report.
  }
}

/** Writes what the next backup needs to know of this one. The backup is there: a failure only costs the next one time. */
async function writeState(
  stateDir: string,
  manifest: Manifest,
  prepared: readonly Prepared[],
  report: Context['report'],
): Promise<void> {
  const { localManifestBefore, writeLocalManifest } = await import('../../lib/backup/catalog.ts');
  try {
    warnOfShrinking(localManifestBefore(stateDir, manifest), manifest, report);
    writeLocalManifest(stateDir, manifest);
    for (const { committed } of prepared) await committed?.();
  } catch (error) {
    report.warn(`the next backup will read everything again: ${messageOf(error)}`);
  }
}

/** Warns of each part that is less than half of what it was in the backup before. */
function warnOfShrinking(before: Manifest | undefined, { parts }: Manifest, report: Context['report']): void {
  for (const part of parts) {
    const last = before?.parts.find((p) => p.kind === part.kind && p.name === part.name);
    if (!before || !last || weight(part) * 2 >= weight(last)) continue;
    report.warn(
      `${part.kind} ${part.name} shrank by more than half: ${bytes(weight(last))} in ${before.id}, ` +
        `${bytes(weight(part))} now. If that was not meant: npx tsx scripts/backup/restore.ts ${before.id}`,
    );
  }
}

/** The backup as a table of its parts. */
function describe({ id, started, finished, parts, complete }: Manifest): string {
  const took = duration(Date.parse(finished) - Date.parse(started));
  const rows = parts.map((p) => [p.kind, p.name, bytes(p.bytesIn), bytes(p.bytesOut)]);
  const text = table([['part', 'name', 'size', 'stored'], ...rows], [2, 3]);
  return `backup ${id}${complete ? '' : ' (partial)'}, ${took}\n${text}`;
}
