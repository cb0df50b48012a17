import { EXIT, Failure, messageOf } from '../failure.ts';
import type { DeployContext } from './look.ts';
import type { Prospect, Strategy } from './strategy.ts';
import { type Attempt, ended, who } from './take-back.ts';
import { type Named, wantedOf } from './wanted.ts';

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
export async function migrateOrTell(
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
