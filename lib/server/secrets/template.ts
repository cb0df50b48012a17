import { ENV_NAME } from '../../env-file.ts';
import { EXIT, Failure, Problems } from '../../failure.ts';
import { type Generator, parseGenerator } from './generator.ts';

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

export const entriesOf = ({ lines }: Template) => lines.filter((line) => line.kind === 'entry');

/** How the secrets are drawn that the template says are generated, by their names. */
export function generators(template: Template): Map<string, Generator> {
  const made = entriesOf(template).filter((line) => line.generator !== undefined);
  return new Map(made.map(({ name, generator }) => [name, generator as Generator]));
}

/** A name on the line of that name is a secret; on another line it is what the template says, if it says it. */
export const isSecret = (lines: ReadonlySet<string>, line: string, name: string) =>
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
export function plainTemplate(names: Iterable<string>): Template {
  const lines = [...names].sort().map((name): Line => {
    return { kind: 'entry', name, pieces: [{ kind: 'value', name, encoded: false, otherwise: undefined }] };
  });
  return { lines };
}
