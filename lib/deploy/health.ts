import { setTimeout as sleep } from 'node:timers/promises';
import type { Context } from '../definition.ts';
import { Failure } from '../failure.ts';
import { duration } from '../format.ts';
import { ask, illness, isVersion, versionsIn, type WebAddress } from '../web.ts';
import type { AppSettings } from './deployment.ts';
import type { DeploySettings } from './settings.ts';

type Urls = Pick<DeploySettings, 'HEALTH_URL' | 'VERSION_URL'>;

interface Version {
  version: string;
  commit?: string | undefined;
}

/** The step in which a new version is seen to answer. @throws Failure that says what answers instead */
export async function seeAnswers(
  { settings, change, signal }: Pick<Context, 'change' | 'signal'> & { settings: AppSettings },
  expected: Version,
): Promise<void> {
  const { HEALTH_URL, VERSION_URL, HEALTH_TIMEOUT } = settings;
  const urls = [HEALTH_URL, VERSION_URL].filter((url) => url !== undefined);
  if (urls.length === 0) return;
  const requests = urls.map((url) => `GET ${url}`);
  await change(`see ${expected.version} answer`, requests, () =>
    awaitAnswers(settings, expected, HEALTH_TIMEOUT * 1000, signal),
  );
}

const PAUSE_MS = 150;
/** So many good answers in a row: one alone may come from a cache, or from a worker that is about to end. */
const IN_A_ROW = 3;
/** Caches in front of the app are gone after this long; whatever still answers with the old version will go on so. */
const OTHER_VERSION_MS = 15_000;

/**
 * Waits until the app is seen from outside to be healthy and of this version, several times in a row.
 * @param timeoutMs how long it may take, in milliseconds
 * @throws Failure that says what is seen instead
 */
export async function awaitAnswers(
  urls: Urls,
  expected: Version,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<void> {
  const started = Date.now();
  let good = 0;
  while (good < IN_A_ROW) {
    const { problem, isOtherVersion } = await problemOf(urls, expected, signal);
    good = problem ? 0 : good + 1;
    const waited = Date.now() - started;
    if (problem && waited > (isOtherVersion ? Math.min(timeoutMs, OTHER_VERSION_MS) : timeoutMs))
      throw new Failure(`after ${duration(waited)} ${problem}`);
    if (good < IN_A_ROW) await sleep(PAUSE_MS, undefined, { signal });
  }
}

/** What is wrong with the app's answers, if something is. */
async function problemOf(
  { HEALTH_URL, VERSION_URL }: Urls,
  expected: Version,
  signal: AbortSignal,
): Promise<{ problem?: string | undefined; isOtherVersion?: boolean }> {
  const ill = HEALTH_URL && illness(HEALTH_URL, await ask(HEALTH_URL, signal));
  if (ill || !VERSION_URL) return { problem: ill };
  const answer = await ask(VERSION_URL, signal);
  const bad = illness(VERSION_URL, answer);
  if (bad) return { problem: bad };
  const versions = versionsIn(answer.text);
  if (versions.some((version) => isVersion(version, expected))) return {};
  const other = versions.join(', ') || 'nothing that is a version';
  return { problem: `${VERSION_URL} answers ${other}, not ${expected.version}`, isOtherVersion: true };
}

/**
 * Checks the app's answers before anything is changed. An app that is down may be deployed; an address that can never
 * answer 200 may not.
 * @returns the version that answers, if one does, and what is wrong with it now, if something is
 * @throws Failure for an address that redirects, is not found, or answers no version
 */
export async function preflightAnswers(
  { HEALTH_URL, VERSION_URL }: Urls,
  signal: AbortSignal,
): Promise<{ version?: string; warning?: string }> {
  const ill = HEALTH_URL && (await answerOf('HEALTH_URL', HEALTH_URL, signal)).warning;
  if (ill) return { warning: ill };
  if (!VERSION_URL) return {};
  const { text, warning } = await answerOf('VERSION_URL', VERSION_URL, signal);
  if (warning) return { warning };
  const [version] = versionsIn(text);
  if (version !== undefined) return { version };
  throw new Failure(
    `VERSION_URL: ${VERSION_URL} answers no version: neither JSON with version or commit, nor a bare one`,
    { next: 'set VERSION_URL to what answers with the version' },
  );
}

/** Answers that do not change by themselves: a login, a wrong path. */
const NEVER_GOOD = [401, 403, 404, 405];

async function answerOf(
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
