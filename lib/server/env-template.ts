import { randomBytes } from 'node:crypto';
import { posix } from 'node:path';
import { OF_DEPLOYMENTS } from '../compose.ts';
import { ENV_NAME, envLine, parseEnv } from '../env-file.ts';
import { EXIT, Failure, throwAll } from '../failure.ts';
import { hostFileMode, readHostFile } from '../host-files.ts';
import { percentEncoded, Secret } from '../secret.ts';
import type { Host } from '../shell.ts';
import type { SecretsSettings } from './secret-settings.ts';
import { namesOf, type Secrets, urisOf, type Values } from './secret-stores.ts';

/** The env file of an app on its host, as it is now. */
export interface EnvFile {
  readonly path: string;
  /** Undefined where there is none. */
  readonly text: string | undefined;
  readonly entries: ReadonlyMap<string, string>;
  /** Users other than its owner may read it. */
  readonly open: boolean;
}

/** An env file as it should be, compared with the one that is there. */
export interface MadeFile {
  readonly text: string;
  readonly marks: Marks;
  /** The file that is there says the same, to the byte, and only its owner may read it. */
  readonly isCurrent: boolean;
  /** What the old file has and neither the template nor the stores know. */
  readonly kept: readonly string[];
  /** Secrets for which the template has no use. */
  readonly unused: readonly string[];
}

/**
 * The env file that `template` makes of the secrets. What the old file has and they do not know is kept, unless `prune`.
 * @throws Problems naming every secret that is asked for and is not there
 */
export function makeFile(
  file: EnvFile,
  template: Template | undefined,
  secrets: Secrets,
  prune = false,
): MadeFile {
  const shape = template ?? plainTemplate(namesOf(secrets));
  const { all, needed } = askedFor(shape);
  refuseIncomplete(secrets, needed);
  const entries = fill(shape, secrets.values);
  const others = [...file.entries].filter(([name]) => !entries.has(name));
  // Without it, `up` would start another version than was deployed.
  const kept = new Map(others.filter(([name]) => !prune || name === OF_DEPLOYMENTS));
  const text = envText(urisOf(secrets.stores) || 'the template', shape, entries, kept);
  return {
    text,
    marks: marks(file.entries, new Map([...entries, ...kept])),
    isCurrent: !file.open && file.text === text,
    kept: [...kept.keys()],
    unused: [...secrets.values.keys()].filter((name) => !all.has(name)),
  };
}

/**
 * Refuses secrets that lack what is asked for.
 * @throws Problems naming each that is missing, empty, or not a text
 */
function refuseIncomplete({ values, unfit, stores }: Secrets, needed: ReadonlySet<string>): void {
  const where = urisOf(stores) || 'the env file';
  const next = (what: string) => ({ next: `${what}: push-secrets or generate-secrets` });
  throwAll(
    [...needed].flatMap((name) => {
      const wrong = unfit.get(name);
      if (wrong) return [new Failure(wrong, next('correct it there'))];
      return values.has(name) ? [] : [new Failure(`${where}: ${name} is missing`, next('add it'))];
    }),
  );
}

/** The text of the env file: what `entries` say in the template's order between its comments, then `kept`. */
function envText(from: string, template: Template, entries: Entries, kept: Entries): string {
  const lines = template.map((line) =>
    line.kind === 'comment' ? line.text : envLine(line.name, reveal(entries.get(line.name) ?? '')),
  );
  const rest = [...kept].map(([name, value]) => envLine(name, reveal(value)));
  const others = rest.length > 0 ? ['', '# Not from there, and kept:', ...rest] : [];
  return [`# Written by opsbook from ${from}; change it there.`, ...lines, ...others, ''].join('\n');
}

/** What happens to a name: added, changed, removed, or nothing. */
type Mark = '+' | '~' | '-' | '=';

/** What happens to each name, in order of name. */
export interface Marks {
  readonly byName: Readonly<Record<string, Mark>>;
  /** Those to which something happens. */
  readonly changed: readonly string[];
  /** A line for each name, without its value. */
  readonly list: string;
}

export function marks(before: Entries, after: Entries): Marks {
  const names = [...new Set([...before.keys(), ...after.keys()])].sort();
  const all = names.map((name) => [name, mark(before.get(name), after.get(name))] as const);
  return {
    byName: Object.fromEntries(all),
    changed: all.filter(([, mark]) => mark !== '=').map(([name]) => name),
    list: all.map(([name, mark]) => `${mark} ${name}`).join('\n'),
  };
}

function mark(before: string | Secret | undefined, after: string | Secret | undefined): Mark {
  if (before === undefined) return '+';
  if (after === undefined) return '-';
  return reveal(before) === reveal(after) ? '=' : '~';
}

/** @throws Failure when it cannot be read or understood */
export async function readEnvFile(host: Host, { APP_DIR, SECRETS_FILE }: SecretsSettings): Promise<EnvFile> {
  const path = posix.resolve(APP_DIR, SECRETS_FILE);
  const text = await readHostFile(host, path);
  const mode = text === undefined ? 0o600 : await hostFileMode(host, path);
  try {
    const entries = new Map(Object.entries(parseEnv(text ?? '')));
    return { path, text, entries, open: (mode & 0o077) !== 0 };
  } catch (error) {
    throw new Failure(`${path}: ${(error as Error).message}`, {
      next: 'correct the line, or move the file away: what only it has would be lost',
    });
  }
}

/** The env file, which has to be there. @throws Failure when it is not */
export async function needEnvFile(host: Host, settings: SecretsSettings): Promise<EnvFile> {
  const file = await readEnvFile(host, settings);
  if (file.text !== undefined) return file;
  throw new Failure(`${file.path} is not there`, { exit: EXIT.usage, next: 'correct its name, or APP_DIR' });
}

const USUAL_TEMPLATE = '.env.template';

/** The app's template; undefined where it has none. @throws Failure when the one that is named is not there */
export async function readTemplate(
  host: Host,
  { APP_DIR, SECRETS_TEMPLATE }: SecretsSettings,
): Promise<Template | undefined> {
  const path = posix.resolve(APP_DIR, SECRETS_TEMPLATE ?? USUAL_TEMPLATE);
  const text = await readHostFile(host, path);
  if (text !== undefined) return parseTemplate(text, path);
  if (SECRETS_TEMPLATE === undefined) return undefined;
  throw new Failure(`SECRETS_TEMPLATE=${SECRETS_TEMPLATE}: ${path} is not there`, {
    exit: EXIT.usage,
    next: 'correct it, or APP_DIR',
  });
}

/** How a secret is drawn: so many random bytes, written in characters that need no escaping anywhere. */
export interface Generator {
  readonly encoding: 'hex' | 'base64url';
  readonly bytes: number;
}

/** 256 bits, and no character but 0-9 and a-f. */
export const HEX_32: Generator = { encoding: 'hex', bytes: 32 };

/** `hex:32` or `base64url:24`. Plain base64 has `/` and `+`, and `openssl` breaks it into lines. */
function parseGenerator(kind: string): Generator {
  const [, encoding, count] = /^(hex|base64url):(\d+)$/.exec(kind) ?? [];
  const bytes = Number(count);
  if (!encoding || bytes < 16 || bytes > 512)
    throw new Error(
      `generate:${kind} is not generate:hex:BYTES or generate:base64url:BYTES of 16 to 512 bytes`,
    );
  return { encoding: encoding as Generator['encoding'], bytes };
}

export const draw = ({ encoding, bytes }: Generator): Secret =>
  new Secret(randomBytes(bytes).toString(encoding));

type Piece =
  | { kind: 'text'; text: string }
  | { kind: 'value'; name: string; encoded: boolean; otherwise: string | undefined };

type Line =
  | { kind: 'comment'; text: string }
  | { kind: 'entry'; name: string; pieces: Piece[]; generator?: Generator };

/** How an env file is made: its lines, in order. */
export type Template = readonly Line[];

const REFERENCE = /\$\{([^}]*)(\}?)/g;
const VALUE = /^([A-Za-z_][A-Za-z0-9_]*)(?:(\|urlencode)|:-((?:(?!\$\{).)*))?$/;

/**
 * Reads a template: comments, empty lines, and `NAME=text` in which `${NAME}`, `${NAME|urlencode}`, `${NAME:-default}`
 * and `${generate:KIND:BYTES}` mean something and nothing else does.
 * @throws Problems that name each line that is wrong (exit 2)
 */
export function parseTemplate(text: string, path: string): Template {
  const problems: Failure[] = [];
  const seen = new Set<string>();
  const lines = text
    .trimEnd()
    .split('\n')
    .map((raw, i): Line => {
      try {
        const line = parseLine(raw.trimEnd());
        if (line.kind === 'entry' && seen.has(line.name)) throw new Error(`${line.name} is there twice`);
        if (line.kind === 'entry') seen.add(line.name);
        return line;
      } catch (error) {
        const message = `${path}, line ${i + 1}: ${(error as Error).message}`;
        problems.push(new Failure(message, { exit: EXIT.usage, next: 'correct it: docs/secrets.md' }));
        return { kind: 'comment', text: '' };
      }
    });
  throwAll(problems);
  return lines;
}

function parseLine(raw: string): Line {
  if (raw === '' || raw.startsWith('#')) return { kind: 'comment', text: raw };
  const [, name = '', text = ''] = /^([^=\s]+)=(.*)$/.exec(raw) ?? [];
  if (!ENV_NAME.test(name)) throw new Error('is neither a comment nor NAME=text');
  if (/^["']/.test(text)) throw new Error(`${name}: write the text without quotes, the file gets its own`);
  if (/\s#/.test(text)) throw new Error(`${name}: a comment needs a line of its own`);
  const [, kind] = /^\$\{generate:(.*)\}$/.exec(text) ?? [];
  if (kind === undefined) return { kind: 'entry', name, pieces: parsePieces(name, text) };
  return { kind: 'entry', name, pieces: [ownValue(name)], generator: parseGenerator(kind) };
}

const ownValue = (name: string): Piece => ({ kind: 'value', name, encoded: false, otherwise: undefined });

function parsePieces(line: string, text: string): Piece[] {
  const pieces: Piece[] = [];
  let from = 0;
  for (const { index, 0: all, 1: inside = '', 2: end } of text.matchAll(REFERENCE)) {
    const found = end === '}' ? VALUE.exec(inside) : null;
    const name = found?.[1];
    if (!name) throw new Error(`${line}: ${all} is not \${NAME}, \${NAME|urlencode} or \${NAME:-default}`);
    if (index > from) pieces.push({ kind: 'text', text: text.slice(from, index) });
    pieces.push({ kind: 'value', name, encoded: found[2] !== undefined, otherwise: found[3] });
    from = index + all.length;
  }
  return from < text.length ? [...pieces, { kind: 'text', text: text.slice(from) }] : pieces;
}

const entriesOf = (template: Template) => template.filter((line) => line.kind === 'entry');

/** How the secrets are drawn that the template says are generated, by their names. */
export function generators(template: Template): Map<string, Generator> {
  const made = entriesOf(template).filter((line) => line.generator !== undefined);
  return new Map(made.map(({ name, generator }) => [name, generator as Generator]));
}

/** A name on the line of that name is a secret; on another line it is what the template says, if it says it. */
const isSecret = (lines: { has(name: string): boolean }, line: string, name: string) =>
  name === line || !lines.has(name);

/** The names of the secrets that the template asks for; `needed` without those for which it has a default. */
export function askedFor(template: Template): { all: Set<string>; needed: Set<string> } {
  const entries = entriesOf(template);
  const names = new Set(entries.map(({ name }) => name));
  const asked = entries.flatMap(({ name: line, pieces }) =>
    pieces.filter((piece) => piece.kind === 'value').filter(({ name }) => isSecret(names, line, name)),
  );
  const needed = asked.filter(({ otherwise }) => otherwise === undefined);
  return { all: new Set(asked.map(({ name }) => name)), needed: new Set(needed.map(({ name }) => name)) };
}

/** The template of an app that has none: every secret under its own name. */
const plainTemplate = (names: readonly string[]): Template =>
  [...new Set(names)].sort().map((name) => ({ kind: 'entry', name, pieces: [ownValue(name)] }));

/** What an env file is made of: only what came from a secret has to be hidden. */
export type Entries = ReadonlyMap<string, string | Secret>;

/**
 * The entries that the template makes of `values`, which have all that it needs.
 * @throws Failure when lines refer to each other in a circle
 */
export function fill(template: Template, values: Values): Map<string, string | Secret> {
  const lines = new Map(entriesOf(template).map((line) => [line.name, line]));
  const resolve = (line: string, path: readonly string[]): string | Secret => {
    if (path.includes(line))
      throw new Failure(`the template goes in a circle: ${[...path, line].join(' → ')}`, {
        exit: EXIT.usage,
      });
    const pieces = (lines.get(line)?.pieces ?? []).map((piece) => {
      if (piece.kind === 'text') return piece.text;
      const { name, encoded, otherwise } = piece;
      const value = isSecret(lines, line, name) ? values.get(name) : resolve(name, [...path, line]);
      return encoded && value !== undefined ? mapped(value, percentEncoded) : (value ?? otherwise ?? '');
    });
    return joined(pieces);
  };
  return new Map([...lines.keys()].map((name) => [name, resolve(name, [])]));
}

export const reveal = (value: string | Secret): string =>
  typeof value === 'string' ? value : value.reveal();

const mapped = (value: string | Secret, change: (text: string) => string) =>
  typeof value === 'string' ? change(value) : new Secret(change(value.reveal()));

function joined(pieces: ReadonlyArray<string | Secret>): string | Secret {
  const text = pieces.map(reveal).join('');
  return pieces.some((piece) => piece instanceof Secret) ? new Secret(text) : text;
}
