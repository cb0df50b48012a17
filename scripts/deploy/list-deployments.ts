import type { DeploymentRecord, Release } from '../../lib/deploy/deployment.ts';
import { deploySettings } from '../../lib/deploy/settings.ts';
import { script } from '../../lib/script.ts';

await script(import.meta, {
  does: 'List the deployments of an app, and show what runs now',
  step: 'Look at the deployments',
  example: 'npx tsx scripts/deploy/list-deployments.ts',
  settings: deploySettings,
  reports: true,
  reaches: 'hosts or service',
  async run(context) {
    const { report, json } = context;
    const { openApp } = await import('../../lib/deploy/deploy.ts');
    const app = await openApp(context);
    const [deployments, running, unfinished] = await Promise.all([
      app.records(),
      app.running(),
      app.unfinished(),
    ]);
    if (unfinished) report.warn(unfinished);
    report.data(
      json
        ? JSON.stringify({ running: running ?? null, deployments })
        : await describe(deployments, running, new Date()),
    );
    if (!running) report.warn('not every service runs, or not all of the same version');
  },
});

/** The deployments as a person reads them, newest first; the one that runs is marked. */
async function describe(
  records: readonly DeploymentRecord[],
  running: Release | undefined,
  now: Date,
): Promise<string> {
  const { duration, table } = await import('../../lib/format.ts');
  const { sameImages } = await import('../../lib/deploy/deployment.ts');
  if (records.length === 0)
    return `no deployment was recorded here${running ? `; ${running.version} runs` : ''}`;
  const newest =
    running &&
    records.findLast(
      (one) => one.did !== 'migrate' && one.returnedTo === undefined && sameImages(one, running),
    );
  const rows = records.toReversed().map((record) => {
    const { version, at, did, migrated, backup = '', who, ms } = record;
    const age = `${duration(now.getTime() - Date.parse(at))} ago`;
    const outcome = outcomeOf(record, ms > 0 ? ` after ${duration(ms)}` : '');
    return [record === newest ? '*' : '', version, age, did, outcome, migrated ? 'yes' : '', backup, who];
  });
  const head = ['', 'version', 'when', 'how', 'outcome', 'migrated', 'backup', 'who'];
  const legend = newest
    ? '* runs now'
    : `* runs now: ${running?.version ?? 'no complete version'}, which no deployment recorded`;
  return `${table([head, ...rows])}\n${legend}`;
}

function outcomeOf({ did, verified, failed, returnedTo }: DeploymentRecord, after: string): string {
  if (verified) return `verified${after}`;
  if (did === 'migrate' && failed === undefined) return `done${after}`;
  return `failed: ${failed}${returnedTo === undefined ? '' : `; back to ${returnedTo}`}`;
}
