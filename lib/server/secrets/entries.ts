import { envLine } from '../../env-file.ts';
import { EXIT, Failure } from '../../failure.ts';
import { percentEncoded, Secret } from '../../secret.ts';
import { entriesOf, isSecret, type Template } from './template.ts';

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
export function envText(from: string, template: Template, entries: Entries, kept: Entries): string {
  const lines = template.lines.map((line) =>
    line.kind === 'comment' ? line.text : envLine(line.name, reveal(entries.get(line.name) ?? '')),
  );
  const rest = [...kept].map(([name, value]) => envLine(name, reveal(value)));
  const others = rest.length > 0 ? ['', '# Not from there, and kept:', ...rest] : [];
  return [`# Written by opsbook from ${from}; change it there.`, ...lines, ...others, ''].join('\n');
}
