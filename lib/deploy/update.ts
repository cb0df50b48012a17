import { messageOf } from '../failure.ts';
import { awaitAnswers } from './health.ts';
import type { DeployContext } from './look.ts';
import { migrateOrTell } from './migrate.ts';
import { type DeploymentRecord, verifiedReleases } from './record.ts';
import { type Prospect, type Release, type Strategy, Superseded } from './strategy.ts';
import { type Deployment, ended, takeBack, who } from './take-back.ts';

/** Releases that stay on the host, so that one can go back to them. */
const KEPT = 5;

/**
 * Makes a release run: obtained, migrated, switched to, seen to answer, recorded. What fails after the switch began
 * is taken back.
 * @returns the record; nothing in a dry run
 */
export async function carryOut(
  context: DeployContext,
  strategy: Strategy,
  deployment: Deployment,
): Promise<DeploymentRecord | undefined> {
  const { report, change } = context;
  const { did, seen, migration, backup } = deployment;
  const { prospect, before } = seen;
  const started = Date.now();
  const base = { did, who: who(), migrated: false, backup, from: before?.version };
  if (before && seen.adoptable)
    await change(`remember ${before.version}, which runs now`, [], () =>
      strategy.record({
        ...before,
        ...base,
        did: 'found',
        from: undefined,
        ...ended(Date.now()),
        verified: true,
      }),
    );
  const release = await change(`make ${prospect.version} available`, prospect.plan.obtain, (step) =>
    prospect.obtain(step),
  );
  const facts = { ...base, migrated: migration !== undefined };
  if (migration)
    await change('migrate', [...prospect.plan.migrate, migration], () =>
      migrateOrTell(strategy, { ...(release as Release), ...facts }, migration, started, (line) =>
        report.info(`  ${line}`),
      ),
    );
  try {
    await change(`switch to ${prospect.version}`, prospect.plan.switch, (step) =>
      strategy.switchTo(release as Release, base.who, step),
    );
    await verify(context, prospect);
  } catch (error) {
    if (strategy.goesOn && context.signal.aborted) throw error;
    if (error instanceof Superseded)
      throw await noteSuperseded(strategy, release as Release, facts, error, started);
    throw await takeBack(context, deployment, { ...(release as Release), ...facts }, error, started);
  }
  if (!release) return undefined;
  const record = { ...release, ...facts, ...ended(started), verified: true };
  await strategy.record(record);
  await prune(strategy, report);
  return record;
}

async function verify({ settings, change, signal }: DeployContext, wanted: Prospect): Promise<void> {
  const { HEALTH_URL, VERSION_URL, HEALTH_TIMEOUT } = settings;
  const urls = [HEALTH_URL, VERSION_URL].filter((url) => url !== undefined);
  if (urls.length === 0) return;
  await change(
    `see ${wanted.version} answer`,
    urls.map((url) => `GET ${url}`),
    () => awaitAnswers(settings, wanted, HEALTH_TIMEOUT * 1000, signal),
  );
}

/** Leaves the record of a deployment in whose place somebody else's runs. @returns the failure that the run ends with */
async function noteSuperseded(
  strategy: Strategy,
  release: Release,
  facts: Omit<DeploymentRecord, keyof Release | 'at' | 'ms' | 'verified'>,
  error: Superseded,
  started: number,
): Promise<unknown> {
  await strategy.record({ ...release, ...facts, ...ended(started), verified: false, failed: error.message });
  return error;
}

/** Room on the disk; that it could not be made does not make a finished deployment a failed one. */
async function prune(strategy: Strategy, report: DeployContext['report']): Promise<void> {
  try {
    const removed = await strategy.prune(verifiedReleases(await strategy.records()).slice(0, KEPT));
    if (removed > 0) report.info(`removed ${removed} images that no rollback needs`);
  } catch (error) {
    report.warn(`old images stay: ${messageOf(error)}`);
  }
}
