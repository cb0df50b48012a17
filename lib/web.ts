import { inspect } from 'node:util';
import type { z as Z, ZodType } from 'zod';
import { Secret } from './secret.ts';

/** More than this of an answer is no verdict and no version: it is not read. */
const READ_MAX = 65_536;

/** An http(s) address. What may stand before its host is a secret: it is sent, and never shown. */
export class WebAddress {
  readonly #url: URL;
  readonly #shown: string;

  /** @throws TypeError when it is no address */
  constructor(text: string) {
    this.#url = new URL(text);
    this.#shown = text.replace(/^(\w+:\/\/)[^/?#\\]*@/, '$1');
    for (const part of [this.#url.password, decoded(this.#url.password)]) new Secret(part);
  }

  /** The address itself, for {@link request}. */
  reveal(): URL {
    return new URL(this.#url);
  }

  toString(): string {
    return this.#shown;
  }

  toJSON(): string {
    return this.#shown;
  }

  [inspect.custom](): string {
    return this.#shown;
  }
}

/** An http(s) address that is shown, without the password that it may have. */
export const webAddress = (z: typeof Z): ZodType<WebAddress> =>
  z.url({ protocol: /^https?$/, error: 'is not an http(s) URL' }).transform((raw) => new WebAddress(raw));

/** Asks an address, as the user and with the password that it may have: `fetch` takes none, and quotes them. */
export function request(url: URL, init: RequestInit = {}): Promise<Response> {
  const headers = new Headers(init.headers);
  const plain = new URL(url);
  plain.username = '';
  plain.password = '';
  if (url.username || url.password) {
    const credentials = `${decoded(url.username)}:${decoded(url.password)}`;
    const basic = new Secret(Buffer.from(credentials).toString('base64'));
    headers.set('authorization', `Basic ${basic.reveal()}`);
  }
  return fetch(plain, { ...init, headers });
}

/** The beginning of an answer's text: who sends without an end is not read to the end. */
export async function textOf(response: Response): Promise<string> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of response.body ?? []) {
    chunks.push(chunk);
    size += chunk.length;
    if (size >= READ_MAX) break;
  }
  return Buffer.concat(chunks).subarray(0, READ_MAX).toString('utf8');
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
