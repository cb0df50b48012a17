import { hostname, userInfo } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Context } from '../definition.ts';
import { checkAll, Failure, messageOf } from '../failure.ts';
import { duration, table } from '../format.ts';
import { ask, illness, isVersion, versionsIn } from '../health.ts';
import type { WebAddress } from '../web.ts';
import {
  type DeploymentRecord,
  type Prospect,
  type Release,
  type Strategy,
  sameImages,
  verifiedReleases,
} from './deployment.ts';
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

export type DeployContext = Pick<Context, 'report' | 'change' | 'signal' | 'dryRun' | 'hosts' | 'defer'> & {
  settings: Context['settings'] & DeploySettings;
  /** How long the switch may take, where that is not for the target to say. */
  waitMs?: number | undefined;
  /** Services may start with other variables than they run with. */
  newEnvironment?: boolean | undefined;
};

/** What was seen before anything was changed. */
export interface Seen {
  prospect: Prospect;
  /** What runs; undefined where nothing does, or not the same in all containers. */
  before: Release | undefined;
  /** It is healthy, and was there before the first deployment: one can go back to it. */
  adoptable: boolean;
}

/**
 * Looks at the target, and at the app from outside.
 * @param more another check of whoever calls
 * @throws Problems with all that is wrong, together
 */
export async function lookLook(
  { settings, report, signal }: DeployContext,
  strategy: Strategy,
  prospect: () => Promise<Prospect>,
  more: () => Promise<unknown> = async () => {},
): Promise<Seen> {
  const cutOff = await strategy.unfinished();
  if (cutOff) report.warn(cutOff);
  if (!settings.VERSION_URL)
    report.warn('VERSION_URL is not set: nobody will see whether the new version is what answers');
  const found: { prospect?: Prospect } = {};
  let answers: Awaited<ReturnType<typeof lookBefore>> = {};
  await checkAll([
    async () => {
      found.prospect = await prospect();
    },
    async () => {
      answers = await lookBefore(settings, signal);
    },
    more,
  ]);
  if (answers.warning) report.warn(answers.warning);
  const running = await strategy.running();
  const undeployed = (await strategy.records()).every(({ did }) => did === 'migrate');
  const adoptable = running !== undefined && !answers.warning && undeployed;
  const before =
    running && adoptable && answers.version !== undefined
      ? { ...running, version: answers.version }
      : running;
  return { prospect: found.prospect as Prospect, before, adoptable };
}

/** What would change, as a table. */
export function describeChanges({ prospect: { version, changes }, before }: Seen): string {
  const rows = changes.map(({ service, now, next }) => [service, now, now === next ? '(unchanged)' : next]);
  return `${before?.version ?? 'nothing that is whole'} → ${version}\n${table([['service', 'runs now', 'will run'], ...rows])}`;
}

/** What a deployment is besides its images. */
export interface Deployment {
  did: 'update' | 'rollback';
  seen: Seen;
  backup?: string | undefined;
  /** The command that changes the database's schema, unless there is none. */
  migration?: string | undefined;
  /** The same strategy for going back, which an interruption does not end. */
  uninterrupted: () => Promise<Strategy>;
}

/** A record of what has not ended yet. */
export type Attempt = Omit<DeploymentRecord, 'at' | 'ms' | 'verified'>;

export const who = (): string => process.env.GITHUB_ACTOR ?? `${userInfo().username}@${hostname()}`;

/** When an attempt ended, and how long it took. */
export const ended = (started: number) => ({ at: new Date().toISOString(), ms: Date.now() - started });

/** Goes back to what ran before, tells why, and leaves a record. @returns the failure that the run ends with */
export async function takeBack(
  context: DeployContext,
  { seen: { before }, uninterrupted }: Deployment,
  failed: Attempt,
  error: unknown,
  started: number,
): Promise<unknown> {
  const { report } = context;
  const { version, migrated, backup } = failed;
  const reason = messageOf(error);
  report.error(`${version} failed: ${reason}`);
  try {
    const strategy = await uninterrupted();
    // What cannot be told of the failure must not keep it from being undone.
    const told = await strategy.postmortem(failed).catch((silent: unknown) => [messageOf(silent)]);
    for (const line of told) report.info(line);
    const target = await safeRelease(strategy, before);
    if (target) await goBack({ ...context, signal: new AbortController().signal }, strategy, target);
    const outcome = { verified: false, failed: reason, returnedTo: target?.version };
    await strategy.record({ ...failed, ...outcome, ...ended(started) });
    if (migrated)
      report.warn(
        `${version} had migrated the database${backup ? `; the backup before it is ${backup}` : ''}`,
      );
    return target
      ? new Failure(`${version} failed and ${target.version} runs again: ${reason}`, {
          next: 'mend it, then deploy the next version; nothing has to be done on the host',
          cause: error,
        })
      : new Failure(`${version} failed, and there is nothing to go back to: ${reason}`, {
          next: LOOK,
          cause: error,
        });
  } catch (again) {
    return new Failure(`${version} failed (${reason}), and so did going back: ${messageOf(again)}`, {
      next: LOOK,
      cause: again,
    });
  }
}

const LOOK = 'see what runs: list-deployments; then roll back, or deploy again';

/** What to go back to: what ran before if it was verified, else the last one that was. */
async function safeRelease(strategy: Strategy, before: Release | undefined): Promise<Release | undefined> {
  const verified = verifiedReleases(await strategy.records());
  return verified.find((one) => before && sameImages(one, before)) ?? verified[0] ?? before;
}

async function goBack(context: DeployContext, strategy: Strategy, target: Release): Promise<void> {
  const { report, settings, signal } = context;
  const started = Date.now();
  await report.step(`go back to ${target.version}`, async (step) => {
    const release = await (await strategy.preflightReturn(target)).obtain(step);
    await strategy.switchTo(release, who(), step);
    await awaitAnswers(settings, target, settings.HEALTH_TIMEOUT * 1000, signal);
  });
  report.info(`${target.version} answers again, ${duration(Date.now() - started)} later`);
}
