import { flag } from '../../lib/definition.ts';
import { assetSettings } from '../../lib/deploy/settings.ts';
import { script } from '../../lib/script.ts';

await script(import.meta, {
  does: 'Make a bucket like a directory of built static files, with the headers that browsers need',
  step: 'Publish the static files',
  example: 'npx tsx scripts/deploy/sync-assets.ts --dry-run',
  settings: assetSettings,
  targetless: true,
  flags: { force: flag('--force', 'delete even though that is more than half of what is there') },
  changes: true,
  reports: true,
  async run(context) {
    const { settings, flags, report, change, signal, dryRun, json } = context;
    const { readAssets } = await import('../../lib/deploy/sync-assets.ts');
    const { openBucket } = await import('../../lib/deploy/sync-assets.ts');
    const { describeSync, planSync, refuseManyLost } = await import('../../lib/deploy/sync-assets.ts');
    const { syncAssets, withWrongHeaders } = await import('../../lib/deploy/sync-assets.ts');
    const { invalidate } = await import('../../lib/deploy/sync-assets.ts');
    const {
      ASSETS_DIRECTORY: directory,
      CLOUDFRONT_DISTRIBUTION: distribution,
      AWS_REGION: region,
    } = settings;

    const assets = await readAssets(directory, settings.ASSETS_IMMUTABLE ?? [], signal);
    const bucket = await openBucket(settings.ASSETS_BUCKET, { region, signal });
    const plan = await withWrongHeaders(planSync(assets, await bucket.list()), bucket, signal);
    if (!flags.force) refuseManyLost(plan, directory, bucket.uri);
    report.summary(`${describeSync(plan)}: ${bucket.uri}`);

    await syncAssets(plan, bucket, context);
    const changed = plan.upload.length + plan.remove.length;
    let invalidation: string | undefined;
    if (distribution && changed > 0)
      invalidation = await change(
        `empty the cache of ${distribution}`,
        [`invalidate /* of ${distribution}`],
        () => invalidate(distribution, region, signal),
      );
    const numbers = {
      uploaded: plan.upload.length,
      unchanged: plan.same.length,
      deleted: plan.remove.length,
    };
    if (json && !dryRun) report.data(JSON.stringify({ bucket: bucket.uri, ...numbers, invalidation }));
  },
});
