import { hostname, userInfo } from 'node:os';
import { Failure, messageOf } from '../failure.ts';
import { duration } from '../format.ts';
import { awaitAnswers } from './health.ts';
import type { DeployContext, Seen } from './look.ts';
import { type DeploymentRecord, sameImages, verifiedReleases } from './record.ts';
import type { Release, Strategy } from './strategy.ts';

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
