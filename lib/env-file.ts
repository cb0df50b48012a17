import { existsSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { EXIT, Failure } from './failure.ts';
import { makePublic, Secret } from './secret.ts';

/** The names that an env file, a shell and Compose's `${NAME}` can all carry. */
export const ENV_NAME = /^[A-Za-z_][A-Za-z0-9_]*$/;

/** What the settings files and the environment say. */
export interface Environment {
  /** The text of every variable: the files in order as dotenv reads them, each over the one before, then the environment. */
  readonly raw: Record<string, string>;
  /** What Docker Compose reads in the same files, which may be the app's as well. */
  readonly composed: Readonly<Record<string, string>>;
  /** The variables of the files that the two read differently: a script that uses one has to refuse it. */
  readonly refused: Map<string, Failure>;
}

/**
 * Reads the files that are named, or else `.env` where there is one.
 * @throws Failure with exit 2 for a file that cannot be read, or not by Compose
 */
export async function readEnvironment(
  files: readonly string[],
  environment: NodeJS.ProcessEnv = process.env,
): Promise<Environment> {
  const { parse } = await import('dotenv');
  const inFiles: Record<string, string> = {};
  let composed: Record<string, string> = {};
  const setBy = new Map<string, string>();
  for (const file of files.length > 0 ? files : ['.env']) {
    const before = composed;
    try {
      const text = readFileSync(file, 'utf8');
      composed = parseEnv(text, environment, before);
      const ours = parse(text);
      const theirs = Object.keys(composed).filter((name) => own(composed, name) !== own(before, name));
      for (const name of [...Object.keys(ours), ...theirs]) setBy.set(name, file);
      Object.assign(inFiles, ours);
    } catch (error) {
      if (files.length === 0 && (error as NodeJS.ErrnoException).code === 'ENOENT') continue;
      throw unreadable(file, error as NodeJS.ErrnoException);
    }
  }
  const refused = new Map<string, Failure>();
  for (const [name, file] of setBy) {
    const [ours, theirs] = [own(inFiles, name), own(composed, name)];
    if (ours !== theirs && own(environment, name) === undefined)
      refused.set(name, ambiguous(file, name, ours, theirs));
  }
  const given = Object.entries(environment).filter(
    (entry): entry is [string, string] => entry[1] !== undefined,
  );
  return { raw: { ...inFiles, ...Object.fromEntries(given) }, composed, refused };
}

const own = (values: Readonly<Record<string, string | undefined>>, name: string) =>
  Object.hasOwn(values, name) ? values[name] : undefined;

function unreadable(file: string, { code, message }: NodeJS.ErrnoException): Failure {
  const [what, next] =
    code === undefined
      ? [message, 'correct the line']
      : [`cannot be read (${code})`, 'name an existing file that this user may read'];
  return new Failure(`--env-file ${file}: ${what}`, { exit: EXIT.usage, next });
}

/** The refusal of a variable that dotenv reads as `ours` and Compose as `theirs`; neither value is in it. */
function ambiguous(
  file: string,
  name: string,
  ours: string | undefined,
  theirs: string | undefined,
): Failure {
  const what =
    ours === undefined
      ? 'is set for Docker Compose, but not for dotenv'
      : theirs === undefined
        ? 'is set for dotenv, but not for Docker Compose'
        : 'has one value for dotenv and another for Docker Compose';
  const next = REFERENCE_IN_TEXT.test(ours ?? '')
    ? `write the value itself in place of the reference, or single quotes if the $ is meant literally: ${name}='…'`
    : howToWrite(name, theirs ?? ours ?? '');
  return new Failure(`--env-file ${file}: ${name} ${what}`, { exit: EXIT.usage, next });
}

/** Where dotenv has it as it was written, Compose has replaced it; it reads `\\$` and `$$` as a `$`. */
const REFERENCE_IN_TEXT = /(?<![\\$])\$\{?[A-Za-z_]/;

function howToWrite(name: string, value: string): string {
  const form = commonForm(value);
  if (form === undefined) return 'set it in the environment: no way of writing it in a file suits both';
  if (form.startsWith('"'))
    return `put it in double quotes, with \\n for a line end and no other backslash: ${name}="…"`;
  return form === value && !BARE.test(value)
    ? `write it without quotes: ${name}=…`
    : `put it in single quotes, with at most a comment after them: ${name}='…'`;
}

/** Names that say of their value that it is a secret, and so long a value has to be to be looked for in all that is told. */
const SECRET_NAME = /(PASS|PASSWORD|PASSWD|PASSPHRASE|SECRET|TOKEN|CREDENTIALS?|[A-Z]+_?KEY)$/i;
const LEAST = 8;
/** Whatever else has these values, paths and questions are told with them. */
const SHOWN = ['APP', 'APP_DIR', 'TARGET', 'SECRETS_FROM'];

/** Has masked what an environment holds as secrets, the app's too, in every reading: whoever's log we show may tell them. */
export function maskSecretsOf(...readings: ReadonlyArray<Readonly<Record<string, string>>>): void {
  const all = readings.flatMap((reading) => Object.entries(reading));
  for (const [name, value] of all) if (SHOWN.includes(name)) makePublic(value);
  const shown = new Set(all.flatMap(([name, value]) => (SECRET_NAME.test(name) ? [] : [value])));
  for (const [name, value] of all) {
    const [, password = ''] = /^[a-z][\w+.-]*:\/\/[^\s:@/]*:([^\s@]+)@/i.exec(value) ?? [];
    const isSecret = SECRET_NAME.test(name) && !value.includes('://') && !isPath(value);
    for (const found of [password, isSecret ? value : ''])
      if (found.length >= LEAST && !shown.has(found)) new Secret(found);
  }
}

/** Of a value that may be a secret: base64 begins with a / as well. */
const isPath = (value: string): boolean =>
  /^(~|\.{0,2})\/[^=+]*$/.test(value) && existsSync(value.replace(/^~/, homedir()));

/**
 * The line of an env file that Compose reads back as `value`, whatever is in it, both as `env_file:` and for `${NAME}`;
 * dotenv reads the same wherever there is a form that both read alike.
 * @throws Error when no environment can carry the name or the value
 */
export function envLine(name: string, value: string): string {
  if (!ENV_NAME.test(name)) throw new Error(`"${name}" is not the name of an environment variable`);
  if (value.includes('\0')) throw new Error(`${name} has a zero byte, which no environment can carry`);
  return `${name}=${commonForm(value) ?? formForCompose(value)}`;
}

/** dotenv goes on behind an escaped backslash at the end, to the next quote: it gets one, in a comment. */
const formForCompose = (value: string) => `"${escaped(value)}"${value.endsWith('\\') ? ' #"' : ''}`;

/** Means nothing else to either reader, nor to a shell. */
const BARE = /^[\w./:@%+,=-]*$/;
/** Means nothing else to either reader; `$` and `#` do, and so do blanks and quotes at the ends. */
const UNQUOTED_ALIKE = /^(?![\s\u0085'"`])[^#$\n\r\u2028\u2029]*(?<![\s\u0085])$/;

/**
 * How `value` is written for dotenv and Compose alike, on one line if possible; undefined where no form is known. In
 * single quotes both take a backslash before the closing one for its escape, and dotenv reads every line end as \n.
 */
function commonForm(value: string): string | undefined {
  if (BARE.test(value)) return value;
  const inSingle = !/['\r]|\\$/.test(value);
  if (inSingle && !value.includes('\n')) return `'${value}'`;
  if (!/["\\$]/.test(value)) return `"${escaped(value)}"`;
  if (inSingle) return `'${value}'`;
  return UNQUOTED_ALIKE.test(value) ? value : undefined;
}

const ESCAPES: Record<string, string> = { '\n': '\\n', '\r': '\\r' };
const escaped = (value: string) => value.replaceAll(/[\\"$\n\r]/g, (found) => ESCAPES[found] ?? `\\${found}`);

type Lookup = (name: string) => string | undefined;
type Fail = (what: string) => never;

const BETWEEN = /(?:\s|#[^\n]*)*/y;
const NAME = /(?:export\s+)?([\p{L}\p{N}_.[\]-]+)[^\S\n]*(?:([=:])[^\S\n]*|\n|$)/uy;
const DOUBLE_QUOTED = /"((?:[^"\\]|\\[\s\S])*)"/y;
const SINGLE_QUOTED = /'((?:[^'\\]|\\[\s\S])*)'/y;
const UNQUOTED = /[^\n]*/y;

/** One entry of an env file, from its name to the end of its value. */
interface Entry {
  name: string;
  /** What stands for its value, without the quotes around it; undefined behind a name alone. */
  text: string | undefined;
  quote: `'` | '"' | '';
  start: number;
  end: number;
}

const failAt =
  (text: string, position: number): Fail =>
  (what) => {
    throw new Error(`line ${text.slice(0, position).split('\n').length}: ${what}`);
  };

/** The entries of an env file by Compose's rules. @throws Error that names the line, and nothing of what it holds */
function* entriesOf(text: string): Generator<Entry> {
  let position = text.startsWith('\uFEFF') ? 1 : 0;
  const take = (pattern: RegExp): RegExpExecArray | undefined => {
    pattern.lastIndex = position;
    const found = pattern.exec(text);
    if (found) position = pattern.lastIndex;
    return found ?? undefined;
  };
  const fail = (what: string) => failAt(text, position)(what);
  const value = (): Pick<Entry, 'text' | 'quote'> => {
    const quote = text[position];
    if (quote === "'") return { quote, text: take(SINGLE_QUOTED)?.[1] ?? fail(`a ' is not closed`) };
    if (quote === '"') return { quote, text: take(DOUBLE_QUOTED)?.[1] ?? fail('a " is not closed') };
    return { quote: '', text: take(UNQUOTED)?.[0] };
  };
  for (;;) {
    take(BETWEEN);
    if (position >= text.length) return;
    const start = position;
    const [, name = '', assigns] = take(NAME) ?? fail('is not NAME=value');
    yield { name, start, ...(assigns ? value() : { quote: '', text: undefined }), end: position };
  }
}

/** `text` of an env file in which `name` has this value, and in which all else is as it was. */
export function withEntry(text: string, name: string, value: string): string {
  const line = envLine(name, value);
  const last = [...entriesOf(text)].findLast((entry) => entry.name === name && entry.text !== undefined);
  if (last) return text.slice(0, last.start) + line + text.slice(last.end);
  return `${text}${text === '' || text.endsWith('\n') ? '' : '\n'}${line}\n`;
}

/**
 * The values of an env file as Docker Compose reads them: double quotes with escapes, single quotes without, and
 * `${NAME}` replaced outside of single quotes, by what `environment` or else an earlier line says. `before` is what
 * files before this one said.
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
  for (const { name, quote, text: raw, end } of entriesOf(text)) {
    // A name alone passes on what the environment has, which wins anyway.
    if (raw === undefined) continue;
    if (quote === "'") values.set(name, raw.replaceAll("\\'", "'"));
    else {
      const plain = quote === '"' ? unescaped(raw) : withoutComment(raw);
      values.set(name, substituted(plain, lookup, failAt(text, end)));
    }
  }
  return Object.fromEntries(values);
}

const withoutComment = (line: string) => (line.split(' #', 1)[0] ?? '').trimEnd();

const CONTROLS: Record<string, string> = {
  ...{ a: '\x07', b: '\b', f: '\f', n: '\n', r: '\r', t: '\t', v: '\v' },
  ...{ '"': '"', '\\': '\\', $: '$$' },
};

const unescaped = (quoted: string) =>
  quoted.replaceAll(/\\(?:([abfnrtv"\\$])|0(\d{0,3}))/g, (_, control?: string, octal = '') =>
    control ? (CONTROLS[control] ?? '') : character(octal),
  );

/** Compose takes `\0101` for A, and of others with `\0` it takes the 0 away. */
const character = (octal: string) =>
  /^[0-3][0-7]{2}$/.test(octal) ? String.fromCharCode(Number.parseInt(octal, 8)) : `\\${octal}`;

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
