import { EXIT, Failure } from '../failure.ts';
import { bytes, count, duration, table } from '../format.ts';
import type { KnownParts } from './baseline.ts';
import type { Entry } from './catalog.ts';
import { CLOCK_TOLERANCE_MS, type Examine, newestSound } from './examine.ts';
import { type Store, Unreadable } from './store.ts';

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
export const isTimely = ({ started, objects }: Entry): boolean =>
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
