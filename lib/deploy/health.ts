import { setTimeout as sleep } from 'node:timers/promises';
import { Failure, messageOf } from '../failure.ts';
import { duration } from '../format.ts';
import type { DeploySettings } from './settings.ts';

type Urls = Pick<DeploySettings, 'HEALTH_URL' | 'VERSION_URL'>;

const ASK_MS = 5_000;
const PAUSE_MS = 150;
/** So many good answers in a row: one alone may come from a cache, or from a worker that is about to end. */
const IN_A_ROW = 3;
/** Caches in front of the app are gone after this long; whoever still answers with the old version will go on so. */
const OTHER_VERSION_MS = 15_000;

/** What an address answered: a status and a text, or why there is no answer. */
interface Answer {
  status?: number;
  text: string;
  /** Where a redirect leads. */
  location?: string;
}

/** Asks once, past caches; redirects are not followed. */
async function ask(url: string, signal: AbortSignal): Promise<Answer> {
  const address = new URL(url);
  address.searchParams.set('opsbook', Date.now().toString(36));
  try {
    const response = await fetch(address, {
      redirect: 'manual',
      headers: { 'cache-control': 'no-cache', accept: 'application/json, text/plain, */*' },
      signal: AbortSignal.any([signal, AbortSignal.timeout(ASK_MS)]),
    });
    const location = response.headers.get('location');
    return {
      status: response.status,
      text: (await response.text()).trim(),
      ...(location ? { location } : {}),
    };
  } catch (error) {
    signal.throwIfAborted();
    if ((error as Error).name === 'TimeoutError') return { text: `gives no answer in ${duration(ASK_MS)}` };
    return { text: `does not answer (${messageOf((error as Error).cause ?? error)})` };
  }
}

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

/** What is wrong with an answer of HEALTH_URL, if something is. */
function illness(url: string, { status, text, location }: Answer): string | undefined {
  if (status === 200) return undefined;
  if (status === undefined) return `${url} ${text}`;
  if (location) return `${url} answers ${status}, a redirect to ${location}`;
  return `${url} answers ${status}${text && text.length < 200 ? `: ${text.split('\n')[0]}` : ''}`;
}

interface State {
  /** What is wrong, if something is. */
  wrong?: string;
  /** Set when it is the version that is wrong. */
  other?: string;
  versions: string[];
}

async function look(
  urls: Urls,
  wanted: { version: string; commit?: string | undefined },
  signal: AbortSignal,
): Promise<State> {
  const { HEALTH_URL, VERSION_URL } = urls;
  const ill = HEALTH_URL && illness(HEALTH_URL, await ask(HEALTH_URL, signal));
  if (ill) return { wrong: ill, versions: [] };
  if (!VERSION_URL) return { versions: [] };
  const answer = await ask(VERSION_URL, signal);
  const bad = illness(VERSION_URL, answer);
  if (bad) return { wrong: bad, versions: [] };
  const versions = versionsIn(answer.text);
  if (versions.some((told) => isVersion(told, wanted))) return { versions };
  const other = versions.join(', ') || 'nothing that is a version';
  return { wrong: `${VERSION_URL} answers ${other}, not ${wanted.version}`, other, versions };
}

/**
 * Waits until the app is seen from outside to be healthy and of this version, several times in a row.
 * @throws Failure that says what is seen instead
 */
export async function awaitAnswers(
  urls: Urls,
  wanted: { version: string; commit?: string | undefined },
  timeoutMs: number,
  signal: AbortSignal,
): Promise<void> {
  const started = Date.now();
  let good = 0;
  while (good < IN_A_ROW) {
    const { wrong, other } = await look(urls, wanted, signal);
    good = wrong ? 0 : good + 1;
    const waited = Date.now() - started;
    if (wrong && waited > (other ? Math.min(timeoutMs, OTHER_VERSION_MS) : timeoutMs))
      throw new Failure(`after ${duration(waited)} ${wrong}`);
    if (good < IN_A_ROW) await sleep(PAUSE_MS, undefined, { signal });
  }
}

/**
 * Looks at the app as it is before anything is changed. An app that is down may be deployed; an address that can
 * never answer 200 may not.
 * @returns the version that answers, if one does, and what is wrong with it now, if something is
 * @throws Failure for an address that redirects, is not found, or tells no version
 */
export async function lookBefore(
  urls: Urls,
  signal: AbortSignal,
): Promise<{ version?: string; warning?: string }> {
  const { HEALTH_URL, VERSION_URL } = urls;
  const named = { HEALTH_URL, VERSION_URL };
  for (const [name, url] of Object.entries(named)) {
    if (!url) continue;
    const answer = await ask(url, signal);
    const ill = illness(url, answer);
    const never = answer.location !== undefined || [401, 403, 404, 405].includes(answer.status ?? 0);
    if (ill && never)
      throw new Failure(`${name}: ${ill}`, {
        next: answer.location
          ? `set ${name} to where it leads`
          : `set ${name} to what answers 200 without a login`,
      });
    if (ill) return { warning: `the app is not healthy now: ${ill}` };
    if (name === 'HEALTH_URL') continue;
    const [version] = versionsIn(answer.text);
    if (version !== undefined) return { version };
    throw new Failure(
      `VERSION_URL: ${url} answers no version: neither JSON with version or commit, nor a bare one`,
      {
        next: 'set VERSION_URL to what answers with the version',
      },
    );
  }
  return {};
}
