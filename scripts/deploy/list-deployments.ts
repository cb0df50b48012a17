import { deploySettings } from '../../lib/deploy/settings.ts';
import { script } from '../../lib/script.ts';

await script(import.meta, {
  does: 'List the deployments of an app, and say what runs now',
  step: 'Look at the deployments',
  example: 'npx tsx scripts/deploy/list-deployments.ts',
  settings: deploySettings,
  reports: true,
  reaches: 'hosts or service',
  async run(context) {
    const { report, json } = context;
    const [{ openStrategy }, { describeDeployments }] = await Promise.all([
      import('../../lib/deploy/open.ts'),
      import('../../lib/deploy/listing.ts'),
    ]);
    const strategy = await openStrategy(context);
    const [deployments, running, unfinished] = await Promise.all([
      strategy.records(),
      strategy.running(),
      strategy.unfinished(),
    ]);
    if (unfinished) report.warn(unfinished);
    report.data(
      json
        ? JSON.stringify({ running: running ?? null, deployments })
        : describeDeployments(deployments, running, new Date()),
    );
    if (!running) report.warn('not every service runs, or not all of the same version');
  },
});
