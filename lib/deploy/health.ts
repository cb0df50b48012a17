import { setTimeout as sleep } from 'node:timers/promises';
import { Failure } from '../failure.ts';
import { duration } from '../format.ts';
import { ask, illness, isVersion, versionsIn } from '../health.ts';
import type { WebAddress } from '../web.ts';
import type { DeploySettings } from './settings.ts';

type Urls = Pick<DeploySettings, 'HEALTH_URL' | 'VERSION_URL'>;

const PAUSE_MS = 150;
/** So many good answers in a row: one alone may come from a cache, or from a worker that is about to end. */
const IN_A_ROW = 3;
/** Caches in front of the app are gone after this long; whoever still answers with the old version will go on so. */
const OTHER_VERSION_MS = 15_000;

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

/** Answers that do not change by themselves: a login, a wrong path. */
const NEVER_GOOD = [401, 403, 404, 405];

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
  const ill = HEALTH_URL && (await seen('HEALTH_URL', HEALTH_URL, signal)).warning;
  if (ill) return { warning: ill };
  if (!VERSION_URL) return {};
  const { text, warning } = await seen('VERSION_URL', VERSION_URL, signal);
  if (warning) return { warning };
  const [version] = versionsIn(text);
  if (version !== undefined) return { version };
  throw new Failure(
    `VERSION_URL: ${VERSION_URL} answers no version: neither JSON with version or commit, nor a bare one`,
    {
      next: 'set VERSION_URL to what answers with the version',
    },
  );
}

async function seen(
  name: string,
  url: WebAddress,
  signal: AbortSignal,
): Promise<{ text: string; warning?: string }> {
  const answer = await ask(url, signal);
  const ill = illness(url, answer);
  if (!ill) return { text: answer.text };
  if (answer.location !== undefined)
    throw new Failure(`${name}: ${ill}`, { next: `set ${name} to where it leads` });
  if (NEVER_GOOD.includes(answer.status ?? 0))
    throw new Failure(`${name}: ${ill}`, { next: `set ${name} to what answers 200 without a login` });
  return { text: '', warning: `the app is not healthy now: ${ill}` };
}
