import { flag, option, repeatable } from '../../lib/definition.ts';
import { deploySettings, newEnvironmentFlag, waitTimeoutFlag } from '../../lib/deploy/settings.ts';
import { script } from '../../lib/script.ts';

await script(import.meta, {
  does: 'Deploy a version: switch to it, see it answer, and go back by itself if it does not',
  step: 'Deploy a version',
  example: 'npx tsx scripts/deploy/update-deployment.ts 1.4.0 --backup',
  settings: deploySettings,
  operands: { '[version]': 'the tag of each image of IMAGE' },
  flags: {
    image: repeatable(
      '--image <reference>',
      'this image, by tag or digest, instead of a version; one for each of IMAGE',
    ),
    commit: option<string>(
      '--commit <ref>',
      'this commit, tag or branch of the remote of the checkout in APP_DIR, built on the host',
    ),
    backup: flag('--backup', 'take a backup first'),
    diff: flag('--diff', 'show what would change, and stop'),
    newEnvironment: newEnvironmentFlag,
    waitTimeout: waitTimeoutFlag,
  },
  changes: true,
  reports: true,
  reaches: 'hosts or service',
  // A version that was switched to is taken back first, on each host of a fleet.
  graceMs: 600_000,
  async run(context) {
    const { settings, flags, operands, report, change, json } = context;
    const [
      { wantedOf },
      { openStrategy, lockDeployment },
      { describeChanges, lookLook: look },
      { carryOut },
      { backupOf },
    ] = await Promise.all([
      import('../../lib/deploy/deployment.ts'),
      import('../../lib/deploy/open.ts'),
      import('../../lib/deploy/health.ts'),
      import('../../lib/deploy/update.ts'),
      import('../../lib/deploy/backup.ts'),
    ]);
    const wanted = wantedOf(
      { version: operands[0], images: flags.image, commit: flags.commit },
      settings.IMAGE,
    );
    const strategy = await openStrategy({
      ...context,
      waitMs: flags.waitTimeout,
      newEnvironment: flags.newEnvironment,
    });
    const version = 'commit' in wanted ? wanted.commit.slice(0, 12) : wanted.version;
    if (!flags.diff) await lockDeployment(context, `update-deployment of ${version}`);
    const first = flags.backup && !flags.diff ? backupOf(context) : undefined;
    const seen = await look(context, strategy, () => strategy.preflight(wanted), first?.preflight);
    report.summary(describeChanges(seen));
    if (flags.diff) return;
    const backup =
      first &&
      (await change('back up', [first.command], async (step) => {
        const id = await first.take();
        step.note(id);
        return id;
      }));
    const record = await carryOut(context, strategy, {
      did: 'update',
      seen,
      backup,
      migration: settings.MIGRATE_COMMAND,
      uninterrupted: () => openStrategy(context, 'uninterrupted'),
    });
    if (!record) return;
    report.output('version', record.version);
    report.data(json ? JSON.stringify(record) : `${record.version} runs, and was seen to answer`);
  },
});
