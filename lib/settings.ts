import type { z as Z, ZodType } from 'zod';
import { EXIT, Failure, messageOf, throwAll } from './failure.ts';
import { Secret } from './secret.ts';

type Zod = typeof Z;

/** One setting: what validates it is also what documents it. */
export interface Setting<T, Optional extends boolean = boolean> {
  readonly name: string;
  readonly about: string;
  readonly example: string;
  /** The raw value where none is given. */
  readonly default?: string;
  /** Its text may hold a password, so that a message about it must not quote it. */
  readonly sensitive?: true;
  readonly optional: Optional;
  /** It stands for all variables that begin so. */
  readonly prefix?: string;
  /** Built when needed: importing zod costs more than the whole of `--help`. */
  readonly type: (z: Zod) => ZodType<T>;
}

interface Definition<T> {
  about: string;
  example: string;
  default?: string;
  sensitive?: true;
  type: (z: Zod) => ZodType<T>;
}

/** A setting that must have a value, be it its default. */
export function setting<T>(name: string, definition: Definition<T>): Setting<T, false> {
  return { name, optional: false, ...definition };
}

/** A setting that may be absent. */
export function optionalSetting<T>(name: string, definition: Definition<T>): Setting<T, true> {
  return { name, optional: true, ...definition };
}

/** The same setting, for a script that can do without it. */
export const optional = <T>(of: Setting<T>): Setting<T, true> => ({ ...of, optional: true });

/** A type whose values `parse` makes of the raw text; what it throws becomes the problem's text. */
export function parsed<T>(parse: (raw: string) => T): (z: Zod) => ZodType<T> {
  return (z) =>
    z.string().transform((raw, context) => {
      try {
        return parse(raw);
      } catch (error) {
        context.addIssue({ code: 'custom', message: messageOf(error) });
        return z.NEVER;
      }
    });
}

/** A comma-separated list, each item made by `parse`. */
export function list<T>(parse: (raw: string) => T): (z: Zod) => ZodType<T[]> {
  return parsed((raw) =>
    raw
      .split(',')
      .map((item) => item.trim())
      .filter((item) => item !== '')
      .map(parse),
  );
}

/** A value that is never shown. */
export const secret = (z: Zod): ZodType<Secret> => z.string().transform((raw) => new Secret(raw));

/** An http(s) address that holds a key, and is therefore never shown. */
export const secretUrl = (z: Zod): ZodType<Secret> =>
  z.url({ protocol: /^https?$/, error: 'is not an http(s) URL' }).transform((raw) => new Secret(raw));

/** All variables whose names begin alike, by the rest of their names in lower case with dashes. */
export function settingFamily(
  prefix: string,
  { about, example }: Pick<Definition<unknown>, 'about' | 'example'>,
): Setting<Record<string, string>, false> {
  const type = (z: Zod) => z.record(z.string(), z.string());
  return { name: `${prefix}NAME`, prefix, about, example, optional: false, type };
}

export type Settings = Record<string, Setting<unknown>>;
export type Values<S extends Settings> = {
  [K in keyof S]: S[K] extends Setting<infer T, infer O> ? (true extends O ? T | undefined : T) : never;
};

/**
 * The values of `settings`, checked. What uses a variable of `refused` throws what that one holds.
 * @throws Problems naming each variable that is missing or wrong (exit 2).
 */
export async function resolveSettings<S extends Settings>(
  settings: S,
  raw: Readonly<Record<string, string>>,
  refused: ReadonlyMap<string, Failure> = new Map(),
): Promise<Values<S>> {
  const { z } = await import('zod');
  const values: Record<string, unknown> = {};
  const problems: Failure[] = [];
  for (const [key, setting] of Object.entries(settings)) {
    const refusals = [...refused].filter(([name]) => isOf(setting, name));
    problems.push(...refusals.map(([, refusal]) => refusal));
    if (refusals.length > 0) continue;
    try {
      const value = setting.prefix === undefined ? valueFrom(setting, raw, z) : family(setting.prefix, raw);
      if (value !== undefined) values[key] = value;
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      problems.push(error);
    }
  }
  throwAll(problems);
  return values as Values<S>;
}

const isOf = ({ name, prefix }: Setting<unknown>, variable: string): boolean =>
  prefix === undefined ? variable === name : variable.startsWith(prefix);

function valueFrom(setting: Setting<unknown>, raw: Readonly<Record<string, string>>, z: Zod): unknown {
  const { name, about, example, optional, sensitive } = setting;
  const text = raw[name]?.trim() || setting.default;
  if (text === undefined) {
    if (optional) return undefined;
    throw wrong(`${name} is not set (${about})`, name, example);
  }
  const { success, data, error } = setting.type(z).safeParse(text);
  if (success) return data;
  const shown = sensitive ? name : `${name}=${withoutPassword(text.replaceAll('\n', '\\n'))}`;
  throw wrong(`${shown}: ${withoutPassword(reason(error))}`, name, example);
}

function family(prefix: string, raw: Readonly<Record<string, string>>): Record<string, string> {
  const ours = Object.entries(raw).filter(([name, text]) => name.startsWith(prefix) && text !== '');
  return Object.fromEntries(
    ours.map(([name, text]) => [name.slice(prefix.length).toLowerCase().replaceAll('_', '-'), text]),
  );
}

/** What cannot be read as an address may hold a password all the same, with a `/` in it for example. */
const withoutPassword = (text: string) => text.replaceAll(/(\/\/[^\s:@/]*:).+@/gs, '$1[redacted]@');

const reason = (error: { issues: ReadonlyArray<{ message: string }> } | undefined) =>
  error?.issues[0]?.message ?? 'is not valid';

function wrong(message: string, name: string, example: string): Failure {
  return new Failure(message, { exit: EXIT.usage, next: `set it, for example ${name}=${example}` });
}
