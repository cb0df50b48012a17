import { inspect } from 'node:util';

const REDACTED = '[redacted]';
const known = new Set<string>();

/**
 * A value that must not be seen: it prints as `[redacted]` wherever it is written, and every output of a
 * script is masked against all secrets that were made (see {@link mask}).
 */
export class Secret {
  readonly #value: string;

  constructor(value: string) {
    this.#value = value;
    // Masking very short values would riddle all output with holes and tell the value by where they are.
    if (value.length >= 4) for (const form of formsOf(value)) known.add(form);
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
  return [value, JSON.stringify(value).slice(1, -1), encoded, strict, form, url.password];
}

/** `text` with every secret that this process knows replaced, longest first. */
export function mask(text: string): string {
  let masked = text;
  for (const value of knownSecrets()) masked = masked.replaceAll(value, REDACTED);
  return masked;
}

/** All forms of all secrets made so far, for outputs that have masking of their own (GitHub Actions). */
export function knownSecrets(): string[] {
  return [...known].sort((a, b) => b.length - a.length);
}
