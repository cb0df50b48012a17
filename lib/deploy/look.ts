import { checkAll } from '../failure.ts';
import { table } from '../format.ts';
import type { Context } from '../script.ts';
import { lookBefore } from './health.ts';
import type { DeploySettings } from './settings.ts';
import type { Prospect, Release, Strategy } from './strategy.ts';

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
export async function look(
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
