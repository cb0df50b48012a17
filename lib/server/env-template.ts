import { randomBytes } from 'node:crypto';
import { OF_DEPLOYMENTS } from '../compose.ts';
import { ENV_NAME, envLine } from '../env-file.ts';
import { EXIT, Failure, Problems } from '../failure.ts';
import { percentEncoded, Secret } from '../secret.ts';
import { type EnvFile, refuseIncomplete, type Secrets } from './secrets.ts';

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
export interface Template {
  readonly lines: readonly Line[];
}

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
  if (problems.length > 0) throw problems.length > 1 ? new Problems(problems) : problems[0];
  return { lines };
}

function parseLine(raw: string): Line {
  if (raw === '' || raw.startsWith('#')) return { kind: 'comment', text: raw };
  const [, name = '', text = ''] = /^([^=\s]+)=(.*)$/.exec(raw) ?? [];
  if (!ENV_NAME.test(name)) throw new Error('is neither a comment nor NAME=text');
  if (/^["']/.test(text)) throw new Error(`${name}: write the text without quotes, the file gets its own`);
  if (/\s#/.test(text)) throw new Error(`${name}: a comment needs a line of its own`);
  const [, kind] = /^\$\{generate:(.*)\}$/.exec(text) ?? [];
  if (kind === undefined) return { kind: 'entry', name, pieces: parsePieces(name, text) };
  const own: Piece = { kind: 'value', name, encoded: false, otherwise: undefined };
  return { kind: 'entry', name, pieces: [own], generator: parseGenerator(kind) };
}

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

const entriesOf = ({ lines }: Template) => lines.filter((line) => line.kind === 'entry');

/** How the secrets are drawn that the template says are generated, by their names. */
export function generators(template: Template): Map<string, Generator> {
  const made = entriesOf(template).filter((line) => line.generator !== undefined);
  return new Map(made.map(({ name, generator }) => [name, generator as Generator]));
}

/** A name on the line of that name is a secret; on another line it is what the template says, if it says it. */
const isSecret = (lines: ReadonlySet<string>, line: string, name: string) =>
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

/** The template of those who have none: every secret under its own name. */
function plainTemplate(names: Iterable<string>): Template {
  const lines = [...names].sort().map((name): Line => {
    return { kind: 'entry', name, pieces: [{ kind: 'value', name, encoded: false, otherwise: undefined }] };
  });
  return { lines };
}

/** Secrets by their names. */
export type Values = ReadonlyMap<string, Secret>;
/** What an env file is made of: only what came from a secret has to be hidden. */
export type Entries = ReadonlyMap<string, string | Secret>;

/**
 * The entries that the template makes of `values`, which have all that it needs.
 * @throws Failure when lines refer to each other in a circle
 */
export function fill(template: Template, values: Values): Map<string, string | Secret> {
  const lines = new Map(entriesOf(template).map((line) => [line.name, line]));
  const names = new Set(lines.keys());
  const resolve = (line: string, path: readonly string[]): string | Secret => {
    if (path.includes(line))
      throw new Failure(`the template goes in a circle: ${[...path, line].join(' → ')}`, {
        exit: EXIT.usage,
      });
    const pieces = (lines.get(line)?.pieces ?? []).map((piece) => {
      if (piece.kind === 'text') return piece.text;
      const { name, encoded, otherwise } = piece;
      const value = isSecret(names, line, name) ? values.get(name) : resolve(name, [...path, line]);
      return encoded && value !== undefined ? mapped(value, percentEncoded) : (value ?? otherwise ?? '');
    });
    return joined(pieces);
  };
  return new Map([...names].map((name) => [name, resolve(name, [])]));
}

export const reveal = (value: string | Secret): string =>
  typeof value === 'string' ? value : value.reveal();

const mapped = (value: string | Secret, change: (text: string) => string) =>
  typeof value === 'string' ? change(value) : new Secret(change(value.reveal()));

function joined(pieces: ReadonlyArray<string | Secret>): string | Secret {
  const text = pieces.map(reveal).join('');
  return pieces.some((piece) => piece instanceof Secret) ? new Secret(text) : text;
}

/** The text of the env file: what `entries` say in the template's order between its comments, then `kept`. */
function envText(from: string, template: Template, entries: Entries, kept: Entries): string {
  const lines = template.lines.map((line) =>
    line.kind === 'comment' ? line.text : envLine(line.name, reveal(entries.get(line.name) ?? '')),
  );
  const rest = [...kept].map(([name, value]) => envLine(name, reveal(value)));
  const others = rest.length > 0 ? ['', '# Not from there, and kept:', ...rest] : [];
  return [`# Written by opsbook from ${from}; change it there.`, ...lines, ...others, ''].join('\n');
}

/** What happens to a name: added, changed, removed, or nothing. */
export type Mark = '+' | '~' | '-' | '=';

/** What becomes of each name, in order of name. */
export function marks(before: Entries, after: Entries): Map<string, Mark> {
  const names = [...new Set([...before.keys(), ...after.keys()])].sort();
  return new Map(names.map((name) => [name, mark(before.get(name), after.get(name))]));
}

type Value = Parameters<typeof reveal>[0];

function mark(before: Value | undefined, after: Value | undefined): Mark {
  if (before === undefined) return '+';
  if (after === undefined) return '-';
  return reveal(before) === reveal(after) ? '=' : '~';
}

export const changedNames = (all: ReadonlyMap<string, Mark>): string[] =>
  [...all].filter(([, mark]) => mark !== '=').map(([name]) => name);

/** A line for each name; values are nobody's business. */
export const describeMarks = (all: ReadonlyMap<string, Mark>): string =>
  [...all].map(([name, mark]) => `${mark} ${name}`).join('\n');

/** An env file as it should be, beside the one that is there. */
export interface Made {
  readonly text: string;
  /** What it says, without what is only kept. */
  readonly entries: Entries;
  readonly marks: ReadonlyMap<string, Mark>;
  /** What the old file has and nothing here knows of. */
  readonly kept: readonly string[];
  /** Secrets for which the template has no use. */
  readonly unused: readonly string[];
}

/**
 * The env file that `template` makes of the secrets; what the old file has and they do not know is kept, unless `prune`.
 * @throws Problems naming every secret that is asked for and is not there
 */
export function makeFile(
  file: EnvFile,
  template: Template | undefined,
  secrets: Secrets,
  { from, prune = false }: { from: string; prune?: boolean },
): Made {
  const known: Values = secrets.values;
  const shape = template ?? plainTemplate([...known.keys(), ...secrets.unfit.keys()]);
  const { all, needed } = askedFor(shape);
  refuseIncomplete(secrets, needed);
  const entries = fill(shape, known);
  const others = [...file.entries].filter(([name]) => !entries.has(name));
  // Without it, `up` would start another version than was deployed.
  const kept = new Map(others.filter(([name]) => !prune || name === OF_DEPLOYMENTS));
  return {
    text: envText(from, shape, entries, kept),
    entries,
    marks: marks(file.entries, new Map([...entries, ...kept])),
    kept: [...kept.keys()],
    unused: [...known.keys()].filter((name) => !all.has(name)),
  };
}

/** Whether the file would be written for nothing. */
export const isCurrent = (file: EnvFile, made: Made): boolean =>
  !file.open && changedNames(made.marks).length === 0 && file.text === made.text;
