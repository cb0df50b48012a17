import type { Entry, KnownParts } from '../../lib/backup/catalog.ts';
import type { Examine } from '../../lib/backup/examine.ts';
import { CLOCK_TOLERANCE_MS } from '../../lib/backup/id.ts';
import { sourceSettings, storeSettings } from '../../lib/backup/settings.ts';
import { type Store, Unreadable } from '../../lib/backup/store.ts';
import { option } from '../../lib/definition.ts';
import { EXIT, Failure } from '../../lib/failure.ts';
import { bytes, count, duration, parseAge, table } from '../../lib/format.ts';
import { script } from '../../lib/script.ts';

await script(import.meta, {
  does: 'List the backups in the store, with sizes; or check that the newest is fresh',
  step: 'Look at the backups',
  example: 'npx tsx scripts/backup/list.ts --max-age 26h',
  settings: { ...storeSettings, BACKUP_RECIPIENT: sourceSettings.BACKUP_RECIPIENT },
  flags: {
    maxAge: option('--max-age <age>', 'exit 3 when the newest complete backup is older: 26h, 2d', parseAge),
  },
  reports: true,
  async run(context) {
    const { settings, flags, report, json } = context;
    const { catalog, partsReader } = await import('../../lib/backup/catalog.ts');
    const { openStore } = await import('../../lib/backup/open.ts');

    const store = await openStore(context);
    const entries = await catalog(store);
    const now = new Date();
    // A monitor asks often: it has no use for the sizes of ten thousand files, nor for manifests of other hosts.
    const monitored = flags.maxAge !== undefined;
    const use = monitored ? undefined : await usage(store);
    const where = { app: settings.APP, store, stateDir: `${settings.APP_DIR}/.opsbook` };
    const partsOf = partsReader(where, !monitored);
    const listing: Array<Entry & { known: KnownParts }> = [];
    // The newest first: where that may not be read, no other is asked for.
    for (const entry of entries.toReversed()) listing.unshift({ ...entry, known: await partsOf(entry) });
    const backups = listing.map(({ id, state, started, bytes, known: { parts, whole } }) => {
      return { id, state, started, bytes, parts, whole };
    });
    report.data(
      json ? JSON.stringify({ store: store.uri, backups, ...use }) : describe(store.uri, listing, use, now),
    );
    if (flags.maxAge === undefined) return;
    const { encryptedBy, examiner } = await import('../../lib/backup/examine.ts');
    const { newest, warnings } = await freshest(
      entries,
      examiner({ ...where, encryptedBy: encryptedBy(settings) }),
    );
    for (const warning of warnings) report.warn(warning);
    refuseStale(store.uri, newest, flags.maxAge, now);
  },
});

/** What a store holds beside the backups' own objects. */
interface Usage {
  contents: number;
  contentBytes: number;
  free: number | null;
}

async function usage(store: Store): Promise<Usage> {
  const use: Usage = { contents: 0, contentBytes: 0, free: (await store.free()) ?? null };
  for await (const { bytes } of store.list('content/')) {
    use.contents += 1;
    use.contentBytes += bytes;
  }
  return use;
}

/** The listing that a person reads; `use` where it was looked for. */
export function describe(
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
  const files = use
    ? `; ${count(use.contents, 'distinct file')}, shared by all, ${bytes(use.contentBytes)}`
    : '';
  return [
    uri,
    table([['backup', 'taken', 'state', 'size', 'parts'], ...rows], [1, 3]),
    `${count(entries.length, 'backup')}, ${bytes(own)}${files}`,
    ...(use?.free ? [`${bytes(use.free)} free`] : []),
  ].join('\n');
}

/** The names of the parts in lines of a column; `…` where there may be more. */
function wrapped({ parts, whole }: KnownParts): string[] {
  // A line of 80 columns has so many for the parts.
  const width = 22;
  const lines: string[] = [];
  for (const name of [...parts.map((part) => part.name), ...(whole ? [] : ['…'])]) {
    const last = lines.at(-1);
    if (last === undefined || last.length + name.length + 2 > width) lines.push(name);
    else lines[lines.length - 1] = `${last}, ${name}`;
  }
  return lines;
}

/**
 * The newest complete backup for a check of its age, and what has to be said of how it was found. Where nothing may be
 * read, names and times are all that there is of those that another host took.
 */
export async function freshest(
  entries: readonly Entry[],
  examine: Examine,
): Promise<{ newest: Entry | undefined; warnings: string[] }> {
  const { isTimely, newestSound } = await import('../../lib/backup/examine.ts');
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

/**
 * @throws Failure with exit 3 when the newest complete backup is older than `maxAge` milliseconds, there is none, or it
 * is from the future
 */
export function refuseStale(uri: string, newest: Entry | undefined, maxAge: number, now: Date): void {
  const next = 'check the log of the last backup run, and run it again';
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
    `the newest complete backup, ${newest.id}, is ${duration(age)} old; the limit is ${duration(maxAge)}`,
    { exit: EXIT.problem, next },
  );
}
