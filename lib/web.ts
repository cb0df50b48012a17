import { inspect } from 'node:util';
import type { z as Z, ZodType } from 'zod';
import { messageOf } from './failure.ts';
import { duration } from './format.ts';
import { Secret } from './secret.ts';
import { optionalSetting } from './settings.ts';

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

/** Where an app is seen from outside. */
export const healthUrlSettings = {
  HEALTH_URL: optionalSetting('HEALTH_URL', {
    about: 'answers 200 when the app is healthy; asked from where the script runs; may have USER:PASSWORD@',
    example: 'https://bloaty.example.org/health',
    type: webAddress,
  }),
  VERSION_URL: optionalSetting('VERSION_URL', {
    about: 'answers which version runs: JSON with version or commit in it, or the version alone',
    example: 'https://bloaty.example.org/api/version',
    type: webAddress,
  }),
};

const ASK_MS = 5_000;

/** What an address answered: a status and a text, or why there is no answer. */
export interface Answer {
  status?: number;
  text: string;
  /** Where a redirect leads. */
  location?: string;
}

/** Asks once, past caches; redirects are not followed. */
export async function ask(url: WebAddress, signal: AbortSignal): Promise<Answer> {
  const address = url.reveal();
  address.searchParams.set('opsbook', Date.now().toString(36));
  try {
    const response = await request(address, {
      redirect: 'manual',
      headers: { 'cache-control': 'no-cache', accept: 'application/json, text/plain, */*' },
      signal: AbortSignal.any([signal, AbortSignal.timeout(ASK_MS)]),
    });
    const location = response.headers.get('location');
    return {
      status: response.status,
      text: (await textOf(response)).trim(),
      ...(location ? { location: shown(location) } : {}),
    };
  } catch (error) {
    signal.throwIfAborted();
    if ((error as Error).name === 'TimeoutError') return { text: `gives no answer in ${duration(ASK_MS)}` };
    return { text: `does not answer (${messageOf((error as Error).cause ?? error)})` };
  }
}

/** A server that is asked with a password may lead on with it. */
const shown = (location: string) => String(URL.canParse(location) ? new WebAddress(location) : location);

/** The versions that an answer tells: JSON with version or commit in it, or a bare text. */
export function versionsIn(text: string): string[] {
  try {
    const told = JSON.parse(text) as unknown;
    if (typeof told === 'string' || typeof told === 'number') return [String(told)];
    const { version, commit } = (told ?? {}) as { version?: unknown; commit?: unknown };
    return [version, commit].filter((one): one is string => typeof one === 'string' && one !== '');
  } catch {
    return /^[\w.+-]{1,128}$/.test(text) ? [text] : [];
  }
}

/** Whether an answer is about the wanted version: a leading `v` does not count, and a commit may be cut short. */
export function isVersion(told: string, wanted: { version: string; commit?: string | undefined }): boolean {
  const plain = (text: string) => text.replace(/^v(?=\d)/, '');
  if (plain(told) === plain(wanted.version)) return true;
  return wanted.commit !== undefined && /^[0-9a-f]{7,40}$/.test(told) && wanted.commit.startsWith(told);
}

/** The words by which an app says that it is ill, in a field `status` or as its whole answer. */
const ILL = /^(un(healthy|available|ready)|down|fail(ed|ing|ure)?|error|critical|dead)$/i;

/** What an answer says of the app's health, where it says that it is ill; many an app says so with a 200. */
function complaint(text: string): string | undefined {
  try {
    const { status } = (JSON.parse(text) ?? {}) as { status?: unknown };
    return typeof status === 'string' && ILL.test(status) ? status : undefined;
  } catch {
    return ILL.test(text) ? text : undefined;
  }
}

/** What is wrong with an answer of HEALTH_URL, if something is. */
export function illness(url: WebAddress, { status, text, location }: Answer): string | undefined {
  if (status === 200) {
    const said = complaint(text);
    return said === undefined ? undefined : `${url} answers 200, but says "${said}"`;
  }
  if (status === undefined) return `${url} ${text}`;
  if (location) return `${url} answers ${status}, a redirect to ${location}`;
  return `${url} answers ${status}${text && text.length < 200 ? `: ${text.split('\n')[0]}` : ''}`;
}
