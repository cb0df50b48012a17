import { EXIT, Failure } from '../failure.ts';

const FORM = /^(\d{4})(\d\d)(\d\d)-(\d\d)(\d\d)(\d\d)$/;

/** The id of a backup that starts at `date`: `YYYYMMDD-HHMMSS` in UTC. */
export function idOf(date: Date): string {
  const [day = '', time = ''] = date.toISOString().split('T');
  return `${day.replaceAll('-', '')}-${time.slice(0, 8).replaceAll(':', '')}`;
}

/** When the backup `id` started; undefined where `id` is not an id. */
export function dateOf(id: string): Date | undefined {
  const found = FORM.exec(id);
  if (!found) return undefined;
  const [y = 0, month = 0, ...rest] = found.slice(1).map(Number);
  const date = new Date(Date.UTC(y, month - 1, ...rest));
  return idOf(date) === id ? date : undefined;
}

/** The manifest's name says whether the backup is complete: a role that may not read can tell. */
export const manifestKey = (id: string, complete: boolean): string =>
  `backups/${id}/manifest${complete ? '' : '.partial'}.json`;

/** Whether a key is that of a manifest of the backup `id`; a part may be called `manifest` too. */
export const isManifest = (key: string, id: string): boolean =>
  key === manifestKey(id, true) || key === manifestKey(id, false);

/**
 * The id among `ids` (oldest first) that an operator means by `requested`: an id, or `latest`.
 * @throws Failure that suggests the nearest, exit 2
 */
export function chooseId(requested: string, ids: readonly string[], where: string): string {
  if (ids.length === 0) {
    throw new Failure(`no backup in ${where}`, { next: 'check BACKUP_STORE and APP, or run backup first' });
  }
  if (requested === 'latest') return ids.at(-1) as string;
  if (ids.includes(requested)) return requested;
  const near = nearest(requested, ids).join(', ');
  throw new Failure(`no backup ${requested} in ${where}; near it: ${near}`, {
    exit: EXIT.usage,
    next: 'name one of these, or "latest"',
  });
}

/** The three ids nearest in time to what `requested` begins to say; a file name with a date in it will do. */
function nearest(requested: string, ids: readonly string[]): string[] {
  const digits = requested.replaceAll(/\D/g, '').slice(0, 14);
  const start = '00000101000000';
  const padded = digits + start.slice(digits.length);
  const time = dateOf(`${padded.slice(0, 8)}-${padded.slice(8)}`)?.getTime();
  if (time === undefined) return ids.slice(-3).reverse();
  const away = (id: string) => Math.abs((dateOf(id)?.getTime() ?? 0) - time);
  return [...ids].sort((a, b) => away(a) - away(b)).slice(0, 3);
}

/** Two clocks may differ by so much before one of them is wrong. */
export const CLOCK_TOLERANCE_MS = 3_600_000;

/** What is not finished after this long never will be, and content that young may belong to a backup being taken. */
export const SETTLED_MS = 86_400_000;
