import { z } from 'zod';
import { EXIT, Failure } from '../failure.ts';
import { CONTROLS } from './addresses.ts';

/*
 * What every manifest, every line of a tree and every journal is read by. Whoever can write to a store or to the app's
 * directory may have written them: a value is either what we would have written, or it is refused by its name.
 */

/** A text from a store as a message may show it: quoted, on one line, and not for ever. */
export function quoted(value: unknown): string {
  const text = JSON.stringify(value) ?? 'nothing';
  const escaped = (c: string) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`;
  const safe = text.replaceAll(new RegExp(CONTROLS, 'g'), escaped);
  return safe.length > 120 ? `${safe.slice(0, 120)}…` : safe;
}

export const clean = z
  .string()
  .min(1, 'is empty')
  .refine((text) => !CONTROLS.test(text), 'has control characters');

export const sha256 = z.string().regex(/^[0-9a-f]{64}$/, 'is no SHA-256');
export const natural = z.int('is no whole number').nonnegative('is less than 0');

/** 2^32 - 1 means "as it is" to chown. */
export const owner = natural.max(2 ** 32 - 2, 'is no user or group');

/** A part's name where it is a segment of keys and of files' names. */
export const fileName = z
  .string()
  .regex(/^[\w.-]+$/, 'is no name of a part')
  .refine((name) => !/^\.{1,2}$/.test(name), 'is no name of a part');

/** Header values as HTTP can carry them. */
const header = z.string().regex(/^[^\r\n\0]*$/, 'has line breaks');

/** What is restored with an object, apart from its bytes: these six, and nothing that says which object, or which bytes. */
export const headers = z.strictObject({
  ContentType: header.optional(),
  CacheControl: header.optional(),
  ContentDisposition: header.optional(),
  ContentEncoding: header.optional(),
  ContentLanguage: header.optional(),
  Metadata: z
    .record(z.string().regex(/^(?!__proto__$)[!#$%&'*+.^`|~\w-]+$/, 'is no name of a header'), header)
    .optional(),
});

export type Headers = z.infer<typeof headers>;

/** What is wrong first, as `field: why (it says "value")`. */
export function firstProblem(error: z.ZodError, json: unknown): string {
  const [issue] = error.issues;
  if (!issue) return 'is not valid';
  const names = issue.code === 'unrecognized_keys' ? issue.keys.slice(0, 1) : [];
  const path = [...issue.path, ...names];
  const message = names.length > 0 ? 'is nothing that belongs there' : issue.message;
  const value = valueAt(json, path);
  const says = value === undefined || typeof value === 'object' ? '' : ` (it says ${quoted(value)})`;
  const shown = path.map((name) => (/^[\w.-]+$/.test(String(name)) ? String(name) : quoted(name)));
  return `${shown.join('/')}: ${message}${says}`;
}

function valueAt(json: unknown, path: readonly PropertyKey[]): unknown {
  let value = json;
  for (const name of path) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, name)) return undefined;
    value = (value as Record<PropertyKey, unknown>)[name];
  }
  return value;
}

const FORM = /^(\d{4})(\d\d)(\d\d)-(\d\d)(\d\d)(\d\d)$/;

/** The id of a backup that starts at `date`: `YYYYMMDD-HHMMSS` in UTC. */
export function idOf(date: Date): string {
  const [day = '', time = ''] = date.toISOString().split('T');
  return `${day.replaceAll('-', '')}-${time.slice(0, 8).replaceAll(':', '')}`;
}

/** When the backup `id` started; undefined where `id` is none. */
export function dateOf(id: string): Date | undefined {
  const found = FORM.exec(id);
  if (!found) return undefined;
  const [, y, mo, d, h, mi, s] = found.map(Number) as [
    number,
    number,
    number,
    number,
    number,
    number,
    number,
  ];
  const date = new Date(Date.UTC(y, mo - 1, d, h, mi, s));
  return idOf(date) === id ? date : undefined;
}

/** The manifest's name says whether the backup is complete: a role that may not read can tell. */
export const manifestKey = (id: string, complete: boolean): string =>
  `backups/${id}/manifest${complete ? '' : '.partial'}.json`;

/** Whether a key is that of a manifest of the backup `id`; a part may be called `manifest` too. */
export const isManifest = (key: string, id: string): boolean =>
  key === manifestKey(id, true) || key === manifestKey(id, false);

/**
 * The id among `ids` (oldest first) that an operator means by `wanted`: an id, or `latest`.
 * @throws Failure that suggests the nearest, exit 2
 */
export function chooseId(wanted: string, ids: readonly string[], where: string): string {
  if (ids.length === 0) {
    throw new Failure(`no backup in ${where}`, { next: 'check BACKUP_STORE and APP, or run backup first' });
  }
  if (wanted === 'latest') return ids.at(-1) as string;
  if (ids.includes(wanted)) return wanted;
  const near = nearest(wanted, ids).join(', ');
  throw new Failure(`no backup ${wanted} in ${where}; near it: ${near}`, {
    exit: EXIT.usage,
    next: 'name one of these, or "latest"',
  });
}

/** The three ids nearest in time to what `wanted` begins to say; a file name with a date in it will do. */
function nearest(wanted: string, ids: readonly string[]): string[] {
  const digits = wanted.replaceAll(/\D/g, '').slice(0, 14);
  const start = '00000101000000';
  const padded = digits + start.slice(digits.length);
  const time = dateOf(`${padded.slice(0, 8)}-${padded.slice(8)}`)?.getTime();
  if (time === undefined) return ids.slice(-3).reverse();
  const away = (id: string) => Math.abs((dateOf(id)?.getTime() ?? 0) - time);
  return [...ids].sort((a, b) => away(a) - away(b)).slice(0, 3);
}

/** So far two clocks may differ before one of them is wrong. */
export const CLOCK_TOLERANCE_MS = 3_600_000;

/** What is not finished after this long never will be, and content that young may belong to a backup being taken. */
export const SETTLED_MS = 86_400_000;
