import { inspect } from 'node:util';

const REDACTED = '[redacted]';
const known = new Set<string>();
const open = new Set<string>();

/** Values that stores hold as well and that say nothing: masked, they would riddle every message. */
const COMMON =
  /^(true|false|null|none|yes|postgres|localhost|production|staging|development|info|debug|warn|warning|error|\d{1,5})$/i;
/** A line of a key: of a longer secret it is looked for by itself. A line of a whole env file, `NAME=text` or `NAME=`, is not. */
const KEY_LINE = /^(?![A-Z_][A-Z0-9_]*=$)[\w+/-]{16,}={0,2}$/;

/**
 * A value that must not be seen: it prints as `[redacted]` wherever it is written, and every output of a
 * script is masked against all secrets that were made (see {@link mask}).
 */
export class Secret {
  readonly #value: string;

  constructor(value: string) {
    this.#value = value;
    // Masking very short values would riddle all output with holes and tell the value by where they are.
    if (value.length < 4 || COMMON.test(value)) return;
    const lines = value.split(/\r?\n/).filter((line) => KEY_LINE.test(line));
    for (const part of new Set([value, ...lines])) for (const form of formsOf(part)) known.add(form);
  }

  /** The value itself: for the environment, standard input or a request body; never for argv or a message. */
  reveal(): string {
    return this.#value;
  }

  toString(): string {
    return REDACTED;
  }

  toJSON(): string {
    return REDACTED;
  }

  [inspect.custom](): string {
    return REDACTED;
  }
}

/** `text`, and the words that it is made of, are everybody's, such as the app's name: they are not masked. */
export function makePublic(text: string): void {
  for (const word of [text, ...text.split(/[^\w.-]+/)]) open.add(word);
}

/**
 * JSON that is a secret or has secrets in it. What the parser says of a text that is none quotes it, and is not passed on.
 * @throws Error that says only that it is not JSON
 */
export function parseSecret<T>(text: string | Secret): T {
  try {
    return JSON.parse(typeof text === 'string' ? text : text.reveal()) as T;
  } catch {
    throw new Error('is not JSON');
  }
}

const STRING = /"[^"\\]*(?:\\.[^"\\]*)*"/;
const TOKEN = new RegExp(`${STRING.source}|[{}[\\],]`, 'g');
const MEMBER = new RegExp(`^\\s*(${STRING.source})\\s*:\\s*([^]*?)\\s*$`);

/**
 * The members of the JSON object that a secret is, each value as it is written there: `1e400` and a number of nineteen
 * digits are no longer the same once they were parsed. Undefined where the JSON is something else.
 * @throws Error that says only that it is not JSON
 */
export function membersOf(secret: Secret): Map<string, string> | undefined {
  const parsed = parseSecret<unknown>(secret);
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) return undefined;
  const members = partsOf(secret.reveal().trim().slice(1, -1)).map((part): [string, string] => {
    const [, name = '""', value = ''] = MEMBER.exec(part) ?? [];
    return [JSON.parse(name), value];
  });
  return new Map(members);
}

/** What the commas of an object part, given its inside; not those in what it holds. */
function partsOf(inside: string): string[] {
  const ends: number[] = [];
  let depth = 0;
  for (const { 0: token, index } of inside.matchAll(TOKEN)) {
    if (token === '{' || token === '[') depth += 1;
    else if (token === '}' || token === ']') depth -= 1;
    else if (token === ',' && depth === 0) ends.push(index);
  }
  const parts = [...ends, inside.length].map((end, i) =>
    inside.slice(i === 0 ? 0 : (ends[i - 1] ?? 0) + 1, end),
  );
  return parts.filter((part) => part.trim() !== '');
}

/** Percent-encoded as the user and the password of a URL have to be: `!'()*` as well, which some drivers mind. */
export const percentEncoded = (text: string): string =>
  encodeURIComponent(text).replaceAll(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);

/** The ways in which the programs that we run, and their error messages, write a value. */
function formsOf(value: string): string[] {
  const encoded = encodeURIComponent(value);
  const strict = percentEncoded(value);
  const url = new URL('postgres://host');
  url.password = value;
  const form = strict.replaceAll('%20', '+');
  const base64 = Buffer.from(value).toString('base64').replaceAll('=', '');
  return [value, JSON.stringify(value).slice(1, -1), encoded, strict, form, url.password, base64];
}

/**
 * The password of an address, or the token that stands for its user; `PASSWORD` in a message of ours is none. Neither goes
 * on behind what no URL has as it is, such as the quotes of JSON; a comma and a ' it may have.
 */
const IN_ADDRESS =
  /(\b[a-z][\w+.-]*:\/\/[^\s:@/"\\`<>[\]{}]*:(?!PASSWORD@)|\bhttps?:\/\/(?=[\w.~%=+-]{20,}@))[^\s@/"\\`<>[\]{}]+(?=@)/gi;

/** `text` with every secret that this process knows replaced, longest first, and what an address has before its host. */
export function mask(text: string): string {
  let masked = text;
  for (const value of knownSecrets()) masked = masked.replaceAll(value, REDACTED);
  return masked.replaceAll(IN_ADDRESS, `$1${REDACTED}`);
}

/** All forms of all secrets made so far, for outputs that have masking of their own (GitHub Actions). */
export function knownSecrets(): string[] {
  return [...known].filter((form) => !open.has(form)).sort((a, b) => b.length - a.length);
}

const HIDDEN = '[redacted]';

/** What secrets look like in the lines of logs: the app's own are not known here, and are not to be. */
const SECRETS: ReadonlyArray<[RegExp, string]> = [
  // A generated password may have a / in it, with which no address can be read, and which is then in the error.
  [/(\w+:\/\/[^\s:@/]*:)[^\s@]+(?=@)/g, `$1${HIDDEN}`],
  [/\b(Bearer|Basic) [\w.~+/=-]{8,}/gi, `$1 ${HIDDEN}`],
  [/\beyJ[\w-]+\.[\w-]+\.[\w-]*/g, HIDDEN],
  [/\b(AKIA|ASIA)[A-Z0-9]{16}\b|\b(sk|pk|ghp|gho|xox[abp])[-_][\w-]{12,}/g, HIDDEN],
  [
    /((?:pass(?:word|wd)?|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|credentials?|cookie)[\w-]*["']?\s*[=:]\s*)("[^"]*"|'[^']*'|[^\s,;&"']+)/gi,
    `$1${HIDDEN}`,
  ],
];

/** A line of somebody's log without what looks like a secret. */
export function redact(line: string): string {
  return SECRETS.reduce((text, [pattern, instead]) => text.replace(pattern, instead), line);
}
