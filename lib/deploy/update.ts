import { EXIT, Failure, messageOf } from '../failure.ts';
import {
  type DeploymentRecord,
  type Named,
  type Prospect,
  type Release,
  type Strategy,
  Superseded,
  verifiedReleases,
  wantedOf,
} from './deployment.ts';
import {
  type Attempt,
  awaitAnswers,
  type DeployContext,
  type Deployment,
  ended,
  takeBack,
  who,
} from './health.ts';

/** What a migration was run with. */
export interface Migrated {
  version: string;
  image: string;
  ms: number;
}

/**
 * Looks at the image that migrates: that of what is named, or of what runs. @throws Failure with exit 2 when there is
 * no command, or nothing is named and nothing runs
 */
export async function lookAtMigration(
  strategy: Strategy,
  named: Named,
  { settings }: Pick<DeployContext, 'settings'>,
): Promise<Prospect> {
  if (settings.MIGRATE_COMMAND === undefined)
    throw new Failure('MIGRATE_COMMAND is not set', {
      exit: EXIT.usage,
      next: 'set it, for example MIGRATE_COMMAND=alembic upgrade head',
    });
  if (named.version !== undefined || (named.images ?? []).length > 0)
    return strategy.preflight(wantedOf(named, settings.IMAGE));
  const running = await strategy.running();
  if (running) return strategy.preflightReturn(running);
  throw new Failure('what runs is not one version, so that its image is not known', {
    exit: EXIT.usage,
    next: 'name the version whose image migrates',
  });
}

/**
 * Runs the migration. One that failed may have done a part of its work, and whoever goes back later has to know: it
 * leaves a record.
 * @param say gets each line that it writes
 */
async function migrateOrTell(
  strategy: Strategy,
  attempt: Attempt,
  command: string,
  started: number,
  say: (line: string) => void,
): Promise<void> {
  try {
    await strategy.migrate(attempt, command, say);
  } catch (error) {
    await strategy.record({ ...attempt, verified: false, failed: messageOf(error), ...ended(started) });
    throw error;
  }
}

/**
 * Runs the migration once, however many hosts there are; its every line is told. Nothing is switched to. It leaves a
 * record, as a rollback has to know of it.
 */
export async function migrateOnce(
  strategy: Strategy,
  prospect: Prospect,
  { settings, change, report }: DeployContext,
): Promise<Migrated | undefined> {
  const { MIGRATE_COMMAND: command = '', APP_SERVICE: service } = settings;
  const started = Date.now();
  const { obtain, migrate } = prospect.plan;
  const release = await change(`make ${prospect.version} available`, obtain, (step) => prospect.obtain(step));
  const what = [...migrate, `${command} in a container of ${service}`];
  return change(`migrate with ${prospect.version}`, what, async () => {
    if (!release) return undefined;
    const record = { ...release, did: 'migrate', who: who(), migrated: true, verified: false } as const;
    await migrateOrTell(strategy, record, command, started, (line) => report.info(line));
    await strategy.record({ ...record, ...ended(started) });
    const image = release.images[service]?.reference ?? '';
    return { version: release.version, image, ms: Date.now() - started };
  });
}

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
