import { readFileSync } from 'node:fs';
import type { z as Z, ZodType } from 'zod';
import { EXIT, Failure, Problems } from './failure.ts';
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

/** A type whose values `parse` makes of the raw text; what it throws becomes the problem's text. */
export function parsed<T>(parse: (raw: string) => T): (z: Zod) => ZodType<T> {
  return (z) =>
    z.string().transform((raw, context) => {
      try {
        return parse(raw);
      } catch (error) {
        context.addIssue({ code: 'custom', message: (error as Error).message });
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

export type Settings = Record<string, Setting<unknown>>;
export type Values<S extends Settings> = {
  [K in keyof S]: S[K] extends Setting<infer T, infer O> ? (true extends O ? T | undefined : T) : never;
};

/** The raw text of every variable: the files in order, each over the one before, and the environment over all. */
export async function readEnvironment(
  files: readonly string[],
  environment: NodeJS.ProcessEnv = process.env,
): Promise<Record<string, string>> {
  const { parse } = await import('dotenv');
  const merged: Record<string, string> = {};
  const named = files.length > 0;
  for (const file of named ? files : ['.env']) {
    try {
      Object.assign(merged, parse(readFileSync(file)));
    } catch (error) {
      if (!named && (error as NodeJS.ErrnoException).code === 'ENOENT') continue;
      throw new Failure(`--env-file ${file}: cannot be read (${(error as NodeJS.ErrnoException).code})`, {
        exit: EXIT.usage,
        next: 'name an existing file that this user may read',
      });
    }
  }
  for (const [name, value] of Object.entries(environment)) if (value !== undefined) merged[name] = value;
  return merged;
}

/**
 * The values of `settings`, checked.
 * @throws Problems naming each variable that is missing or wrong (exit 2).
 */
export async function resolveSettings<S extends Settings>(
  settings: S,
  raw: Readonly<Record<string, string>>,
): Promise<Values<S>> {
  const { z } = await import('zod');
  const values: Record<string, unknown> = {};
  const problems: Failure[] = [];
  for (const [key, setting] of Object.entries(settings)) {
    const { name, about, example, optional, sensitive } = setting;
    const text = raw[name]?.trim() || setting.default;
    if (text === undefined) {
      if (!optional) problems.push(wrong(`${name} is not set (${about})`, name, example));
      continue;
    }
    const { success, data, error } = setting.type(z).safeParse(text);
    if (success) values[key] = data;
    else
      problems.push(
        wrong(
          `${sensitive ? name : `${name}=${text.replaceAll('\n', '\\n')}`}: ${reason(error)}`,
          name,
          example,
        ),
      );
  }
  if (problems.length === 1) throw problems[0];
  if (problems.length > 1) throw new Problems(problems);
  return values as Values<S>;
}

const reason = (error: { issues: ReadonlyArray<{ message: string }> } | undefined) =>
  error?.issues[0]?.message ?? 'is not valid';

function wrong(message: string, name: string, example: string): Failure {
  return new Failure(message, { exit: EXIT.usage, next: `set it, for example ${name}=${example}` });
}
