import { option } from '../../lib/definition.ts';
import { deploySettings, newEnvironmentFlag, waitTimeoutFlag } from '../../lib/deploy/settings.ts';
import { script } from '../../lib/script.ts';

await script(import.meta, {
  does: 'Go back to the last version that was verified, or to one of those before it',
  step: 'Roll back',
  example: 'npx tsx scripts/deploy/rollback.ts --to 1.3.0',
  settings: deploySettings,
  flags: {
    to: option<string>('--to <version>', 'go back to this version (must have been verified here)'),
    newEnvironment: newEnvironmentFlag,
    waitTimeout: waitTimeoutFlag,
  },
  changes: true,
  reports: true,
  reaches: 'hosts or service',
  // A version that was switched to is rolled back first, on each host of a fleet.
  graceMs: 600_000,
  asks: true,
  async run(context) {
    const { settings, flags, report, change, confirm, json } = context;
    const records = await import('../../lib/deploy/deployment.ts');
    const { seeAnswers } = await import('../../lib/deploy/health.ts');
    const deploy = await import('../../lib/deploy/deploy.ts');

    // Nothing is changed yet.
    const app = await deploy.openApp(context, flags);
    await deploy.lockDeployment(context, `rollback${flags.to ? ` to ${flags.to}` : ''}`);
    const all = await app.records();
    const target = records.rollbackTarget(all, await app.running(), flags.to);
    const found = await deploy.preflight(context, app, () => app.preflightRelease(target));
    report.summary(deploy.describeChanges(found));
    for (const line of records.describeMigrations(records.migrationsSince(all, target))) report.warn(line);
    await confirm(`This goes back to ${target.version} in ${settings.APP}. Go on?`);

    // From here on something is changed.
    const { plan, before } = found;
    const begun = { who: records.who(), from: before?.version, migrated: false, started: Date.now() };
    const { obtain, switch: switching } = plan.commands;
    const release = await change(`make ${plan.version} available`, obtain, (step) => plan.obtain(step));
    const attempt = { ...release!, ...begun, did: 'rollback' } as const;
    try {
      await change(`switch to ${plan.version}`, switching, (step) => app.switchTo(release!, step));
      await seeAnswers(context, plan);
    } catch (error) {
      throw await deploy.rollBack(context, app, attempt, before, error);
    }
    if (context.dryRun) return;
    const record = await deploy.recordVerified(app, attempt, report);
    report.output('version', record.version);
    report.data(json ? JSON.stringify(record) : `${record.version} runs again, and was seen to answer`);
  },
});
