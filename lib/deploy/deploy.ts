import type { Context } from '../definition.ts';
import { checkAll, EXIT, Failure, messageOf } from '../failure.ts';
import { duration, table } from '../format.ts';
import { excludeOn } from '../lock.ts';
import { appOnHost } from './compose.ts';
import {
  type AppSettings,
  type DeployedApp,
  type DeploymentRecord,
  type Environment,
  type Plan,
  type Release,
  Superseded,
  sameImages,
  verifiedReleases,
} from './deployment.ts';
import { awaitAnswers, preflightAnswers } from './health.ts';

type DeployContext = Pick<Context, 'report' | 'signal' | 'dryRun' | 'hosts' | 'defer'> & {
  settings: AppSettings;
};

interface OpenFlags {
  /** How long the switch may take on ECS, in milliseconds. */
  waitTimeout?: number | undefined;
  /** Services may start with other variables than they run with. */
  newEnvironment?: boolean | undefined;
}

/**
 * The app where TARGET says that it runs: on a host, on several behind a load balancer, or in ECS.
 * @throws Failure with exit 2 for several hosts without a load balancer
 */
export const openApp = (
  context: DeployContext,
  { waitTimeout, newEnvironment }: OpenFlags = {},
): Promise<DeployedApp> => open(context, newEnvironment ? 'may differ' : 'as it runs', waitTimeout);

/** The same app, to roll back: an interruption does not end that, and what is rolled back to was trusted before. */
const openForRollback = (context: DeployContext): Promise<DeployedApp> =>
  open(
    {
      ...context,
      settings: { ...context.settings, HEALTHY_FOR: 0 },
      hosts: context.hosts.map((host) => host.uninterrupted),
      signal: new AbortController().signal,
    },
    'as it was',
  );

async function open(
  { settings, signal, hosts, report }: DeployContext,
  environment: Environment,
  waitMs?: number,
): Promise<DeployedApp> {
  const { TARGET_GROUP_ARN } = settings;
  const [target, ...others] = settings.TARGET;
  if (target?.kind === 'ecs') {
    if (others.length > 0)
      throw new Failure('TARGET names a service of ECS and something else', {
        exit: EXIT.usage,
        next: 'deploy to one at a time: name it with --target',
      });
    const { appOnEcs } = await import('./ecs.ts');
    return appOnEcs(target, settings, signal, report, waitMs);
  }
  if (TARGET_GROUP_ARN) {
    const { appOnFleet } = await import('./fleet.ts');
    return appOnFleet(hosts, { ...settings, TARGET_GROUP_ARN }, signal, report, environment);
  }
  const [host] = hosts;
  if (host && hosts.length === 1) return appOnHost(host, settings, signal, environment);
  throw new Failure(
    `TARGET names ${hosts.length} hosts, and no load balancer is known that sends them requests`,
    {
      exit: EXIT.usage,
      next: "set TARGET_GROUP_ARN to the load balancer's target group, or name one host with --target",
    },
  );
}

/**
 * One deployment at a time: takes the lock on each of the app's hosts, under a name that shows others what is under way.
 * @throws Failure with exit 75 that names who deploys what, since when
 */
export async function lockDeployment(context: DeployContext, what: string): Promise<void> {
  // On ECS the preflight refuses a second deployment: ECS itself knows of the first.
  if (context.dryRun || context.settings.TARGET[0]?.kind === 'ecs') return;
  // One after the other, and in one order: two that start at the same moment do not each hold a part.
  for (const host of context.hosts) await excludeOn(host.uninterrupted, 'deploy', what, context);
}

/** What a preflight found. */
interface Preflight {
  plan: Plan;
  /** What runs; undefined where nothing does, or not the same in all containers. */
  before: Release | undefined;
  /** What runs is healthy, and was there before the first deployment: one can roll back to it. */
  isAdoptable: boolean;
}

/**
 * Checks the target, and the app from outside; warns of what does not keep it from being deployed.
 * @param plan makes the plan, by the target's own checks
 * @param more another check of the caller
 * @throws Problems with all that is wrong, together
 */
export async function preflight(
  { settings, report, signal }: Pick<DeployContext, 'settings' | 'report' | 'signal'>,
  app: DeployedApp,
  plan: () => Promise<Plan>,
  more: () => Promise<unknown> = async () => {},
): Promise<Preflight> {
  const unfinished = await app.unfinished();
  if (unfinished) report.warn(unfinished);
  if (!settings.VERSION_URL)
    report.warn('VERSION_URL is not set: cannot check that the new version is the one answering');
  const [planned, { version, warning }] = await checkAll([
    plan,
    () => preflightAnswers(settings, signal),
    more,
  ]);
  if (warning) report.warn(warning);
  const running = await app.running();
  const isFirst = (await app.records()).every(({ did }) => did === 'migrate');
  const isAdoptable = running !== undefined && !warning && isFirst;
  const before = running && isAdoptable && version !== undefined ? { ...running, version } : running;
  return { plan: planned, before, isAdoptable };
}

/** What would change, as a table. */
export function describeChanges({ plan: { version, changes }, before }: Preflight): string {
  const rows = changes.map(({ service, now, next }) => [service, now, now === next ? '(unchanged)' : next]);
  return `${before?.version ?? 'no complete version'} → ${version}\n${table([['service', 'runs now', 'will run'], ...rows])}`;
}

/** A deployment under way: its record, as far as it is known. */
export interface Attempt extends Omit<DeploymentRecord, 'at' | 'ms' | 'verified'> {
  /** When it began, as milliseconds since 1970. */
  readonly started: number;
}

/** The record of an attempt that ends now. */
export const recordOf = ({ started, ...facts }: Attempt, verified: boolean): DeploymentRecord => ({
  ...facts,
  at: new Date().toISOString(),
  ms: Date.now() - started,
  verified,
});

/**
 * Runs the migration. One that failed may have done a part of its work, and whoever rolls back later has to know: it
 * leaves a record.
 * @param onLine gets each line that it writes
 */
export async function migrate(
  app: DeployedApp,
  attempt: Attempt,
  command: string,
  onLine: (line: string) => void,
): Promise<void> {
  try {
    await app.migrate(attempt, command, onLine);
  } catch (error) {
    await app.record({ ...recordOf(attempt, false), failed: messageOf(error) });
    throw error;
  }
}

/** Releases that stay on the host, so that one can roll back to them. */
const KEPT = 5;

/** Records a deployment that was seen to answer, and removes the images that no rollback needs any more. */
export async function recordVerified(
  app: DeployedApp,
  attempt: Attempt,
  report: DeployContext['report'],
): Promise<DeploymentRecord> {
  const record = recordOf(attempt, true);
  await app.record(record);
  try {
    const removed = await app.prune(verifiedReleases(await app.records()).slice(0, KEPT));
    if (removed > 0) report.info(`removed ${removed} images that no rollback needs`);
  } catch (error) {
    // A deployment that is finished does not fail for a disk that stays full.
    report.warn(`old images stay: ${messageOf(error)}`);
  }
  return record;
}

const NEXT = 'see what runs: list-deployments; then roll back, or deploy again';

/**
 * Rolls back a deployment that failed after its switch began: tells why, makes what ran before run again, and leaves a
 * record. What ECS goes on with by itself, and what another's deployment has replaced, is left alone.
 * @param before what ran before the deployment
 * @returns the failure that the run ends with
 */
export async function rollBack(
  context: DeployContext,
  app: DeployedApp,
  attempt: Attempt,
  before: Release | undefined,
  error: unknown,
): Promise<unknown> {
  if (app.goesOn && context.signal.aborted) return error;
  const { report } = context;
  const { version, migrated, backup } = attempt;
  const failed = messageOf(error);
  if (error instanceof Superseded) {
    await app.record({ ...recordOf(attempt, false), failed });
    return error;
  }
  report.error(`${version} failed: ${failed}`);
  try {
    const uninterrupted = await openForRollback(context);
    // A postmortem that fails must not keep the deployment from being undone.
    const lines = await uninterrupted.postmortem(attempt).catch((thrown: unknown) => [messageOf(thrown)]);
    for (const line of lines) report.info(line);
    const target = await rollbackRelease(uninterrupted, before);
    if (target) await goBack(context, uninterrupted, target);
    await uninterrupted.record({ ...recordOf(attempt, false), failed, returnedTo: target?.version });
    if (migrated)
      report.warn(
        `${version} had migrated the database${backup ? `; the backup before it is ${backup}` : ''}`,
      );
    return target
      ? new Failure(`${version} failed and ${target.version} runs again: ${failed}`, {
          next: 'fix it and deploy a new version; the host needs nothing',
          cause: error,
        })
      : new Failure(`${version} failed, and there is nothing to roll back to: ${failed}`, {
          next: NEXT,
          cause: error,
        });
  } catch (thrown) {
    return new Failure(`${version} failed (${failed}), and so did the rollback: ${messageOf(thrown)}`, {
      next: NEXT,
      cause: thrown,
    });
  }
}

/** What ran before, if that was verified; otherwise the last release that was. */
async function rollbackRelease(app: DeployedApp, before: Release | undefined): Promise<Release | undefined> {
  const verified = verifiedReleases(await app.records());
  return verified.find((one) => before && sameImages(one, before)) ?? verified[0] ?? before;
}

async function goBack({ report, settings }: DeployContext, app: DeployedApp, target: Release): Promise<void> {
  const started = Date.now();
  await report.step(`go back to ${target.version}`, async (step) => {
    const plan = await app.preflightRelease(target);
    await app.switchTo(await plan.obtain(step), step);
    await awaitAnswers(settings, target, settings.HEALTH_TIMEOUT * 1000, new AbortController().signal);
  });
  report.info(`${target.version} answers again, ${duration(Date.now() - started)} later`);
}
