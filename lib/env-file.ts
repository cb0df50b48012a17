/** The names that an env file, a shell and Compose's `${NAME}` can all carry. */
export const ENV_NAME = /^[A-Za-z_][A-Za-z0-9_]*$/;

const ESCAPES: Record<string, string> = { '\n': '\\n', '\r': '\\r' };

/**
 * One line of an env file that Compose reads back as `value`, whatever is in it, both as `env_file:` and for `${NAME}`:
 * double quotes, with `\`, `"` and `$` escaped, and line ends written as `\n` and `\r`.
 * @throws Error when no environment can carry the name or the value
 */
export function envLine(name: string, value: string): string {
  if (!ENV_NAME.test(name)) throw new Error(`"${name}" is no name of an environment variable`);
  if (value.includes('\0')) throw new Error(`${name} has a zero byte, which no environment can carry`);
  return `${name}="${value.replaceAll(/[\\"$]/g, '\\$&').replaceAll(/[\n\r]/g, (end) => ESCAPES[end] ?? end)}"`;
}

type Lookup = (name: string) => string | undefined;
type Fail = (what: string) => never;

const BETWEEN = /(?:\s|#[^\n]*)*/y;
const NAME = /(?:export\s+)?([\p{L}\p{N}_.[\]-]+)[^\S\n]*(?:([=:])[^\S\n]*|\n|$)/uy;
const DOUBLE_QUOTED = /"((?:[^"\\]|\\[\s\S])*)"/y;
const SINGLE_QUOTED = /'((?:[^'\\]|\\[\s\S])*)'/y;
const UNQUOTED = /[^\n]*/y;

/**
 * The values of an env file as Docker Compose reads them: double quotes with escapes, single quotes without, and
 * `${NAME}` replaced outside of single quotes, by what `environment` or else an earlier line says. (The npm package
 * dotenv keeps `\"`, `\$` and `\\` as they are, and replaces nothing.) `before` is what files before this one said.
 * @throws Error that names the line, and nothing of what it holds
 */
export function parseEnv(
  text: string,
  environment: Readonly<Record<string, string | undefined>> = {},
  before: Readonly<Record<string, string>> = {},
): Record<string, string> {
  const values = new Map(Object.entries(before));
  const lookup: Lookup = (name) =>
    (Object.hasOwn(environment, name) ? environment[name] : undefined) ?? values.get(name);
  let position = text.startsWith('\uFEFF') ? 1 : 0;
  const take = (pattern: RegExp): RegExpExecArray | undefined => {
    pattern.lastIndex = position;
    const found = pattern.exec(text);
    if (found) position = pattern.lastIndex;
    return found ?? undefined;
  };
  const fail: Fail = (what) => {
    throw new Error(`line ${text.slice(0, position).split('\n').length}: ${what}`);
  };
  const value = (): string => {
    const quote = text[position];
    if (quote === "'") return take(SINGLE_QUOTED)?.[1]?.replaceAll("\\'", "'") ?? fail(`a ' is not closed`);
    const raw =
      quote === '"'
        ? unescaped(take(DOUBLE_QUOTED)?.[1] ?? fail('a " is not closed'))
        : withoutComment(take(UNQUOTED)?.[0] ?? '');
    return substituted(raw, lookup, fail);
  };
  for (;;) {
    take(BETWEEN);
    if (position >= text.length) return Object.fromEntries(values);
    const [, name = '', assigns] = take(NAME) ?? fail('is not NAME=value');
    // A name alone passes on what the environment has, which wins anyway.
    if (assigns) values.set(name, value());
  }
}

const withoutComment = (line: string) => (line.split(' #', 1)[0] ?? '').trimEnd();

const CONTROLS: Record<string, string> = {
  ...{ a: '\x07', b: '\b', f: '\f', n: '\n', r: '\r', t: '\t', v: '\v' },
  ...{ '"': '"', '\\': '\\', $: '$$' },
};

const unescaped = (quoted: string) =>
  quoted.replaceAll(/\\([abfnrtv"\\$])/g, (_, escaped: string) => CONTROLS[escaped] ?? '');

const REFERENCE =
  /\$(?:(?<plain>[A-Za-z_]\w*)|(?<brace>\{)(?:(?<name>[A-Za-z_]\w*)(?:(?<operator>:?[-+?])(?<word>(?:[^{}]|\{[^{}]*\})*))?\})?|\$?)/g;

interface Reference {
  plain?: string;
  brace?: string;
  name?: string;
  operator?: string;
  word?: string;
}

/** `$$`, `$NAME` and `${NAME}` with the operators of a shell that Compose knows. */
function substituted(text: string, lookup: Lookup, fail: Fail): string {
  return text.replaceAll(REFERENCE, (...match) => {
    const { plain, brace, ...reference } = match.at(-1) as Reference;
    if (plain) return lookup(plain) ?? '';
    return brace ? inBraces(reference, lookup, fail) : '$';
  });
}

function inBraces({ name, operator = '', word = '' }: Reference, lookup: Lookup, fail: Fail): string {
  if (!name) return fail('has "${" that is no ${NAME}: write $${, or use single quotes');
  const text = lookup(name);
  const found = text === '' && operator.startsWith(':') ? undefined : text;
  const instead = () => substituted(word, lookup, fail);
  if (operator.endsWith('+')) return found === undefined ? '' : instead();
  if (operator.endsWith('-')) return found ?? instead();
  if (operator.endsWith('?')) return found ?? fail(`needs ${name}, which is not set`);
  return found ?? '';
}
