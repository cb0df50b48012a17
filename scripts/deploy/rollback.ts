import { option } from '../../lib/definition.ts';
import { deploySettings, newEnvironmentFlag, waitTimeoutFlag } from '../../lib/deploy/settings.ts';
import { script } from '../../lib/script.ts';

await script(import.meta, {
  does: 'Go back to the last version that was verified, or to one of those before it',
  step: 'Roll back',
  example: 'npx tsx scripts/deploy/rollback.ts --to 1.3.0',
  settings: deploySettings,
  flags: {
    to: option<string>('--to <version>', 'this version; it has to have been verified here'),
    newEnvironment: newEnvironmentFlag,
    waitTimeout: waitTimeoutFlag,
  },
  changes: true,
  reports: true,
  reaches: 'hosts or service',
  // A version that was switched to is taken back first, on each host of a fleet.
  graceMs: 600_000,
  asks: true,
  async run(context) {
    const { settings, flags, report, confirm, json } = context;
    const [{ openStrategy, lockDeployment }, { describeChanges, lookLook: look }, { carryOut }, records] =
      await Promise.all([
        import('../../lib/deploy/open.ts'),
        import('../../lib/deploy/health.ts'),
        import('../../lib/deploy/update.ts'),
        import('../../lib/deploy/deployment.ts'),
      ]);
    const strategy = await openStrategy({
      ...context,
      waitMs: flags.waitTimeout,
      newEnvironment: flags.newEnvironment,
    });
    await lockDeployment(context, `rollback${flags.to ? ` to ${flags.to}` : ''}`);
    const all = await strategy.records();
    const target = records.rollbackTarget(all, await strategy.running(), flags.to);
    const seen = await look(context, strategy, () => strategy.preflightReturn(target));
    report.summary(describeChanges(seen));
    for (const line of records.describeMigrations(records.migrationsSince(all, target))) report.warn(line);
    await confirm(`This goes back to ${target.version} in ${settings.APP}. Go on?`);
    const record = await carryOut(context, strategy, {
      did: 'rollback',
      seen,
      uninterrupted: () => openStrategy(context, 'uninterrupted'),
    });
    if (!record) return;
    report.output('version', record.version);
    report.data(json ? JSON.stringify(record) : `${record.version} runs again, and was seen to answer`);
  },
});
