import { z } from 'zod';
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

export const sha256 = z.string().regex(/^[0-9a-f]{64}$/, 'is not a SHA-256');
export const natural = z.int('is not a whole number').nonnegative('is less than 0');

/** 2^32 - 1 means "as it is" to chown. */
export const owner = natural.max(2 ** 32 - 2, 'is not a user or group');

/** A part's name where it is a segment of keys and of files' names. */
export const fileName = z
  .string()
  .regex(/^[\w.-]+$/, 'is not the name of a part')
  .refine((name) => !/^\.{1,2}$/.test(name), 'is not the name of a part');

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
    .record(z.string().regex(/^(?!__proto__$)[!#$%&'*+.^`|~\w-]+$/, 'is not the name of a header'), header)
    .optional(),
});

export type Headers = z.infer<typeof headers>;

/** What is wrong first, as `field: why (it says "value")`. */
export function firstProblem(error: z.ZodError, json: unknown): string {
  const [issue] = error.issues;
  if (!issue) return 'is not valid';
  const names = issue.code === 'unrecognized_keys' ? issue.keys.slice(0, 1) : [];
  const path = [...issue.path, ...names];
  const message = names.length > 0 ? 'does not belong there' : issue.message;
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
