import { repeatable } from '../../lib/definition.ts';
import { deploySettings, newEnvironmentFlag } from '../../lib/deploy/settings.ts';
import { script } from '../../lib/script.ts';

await script(import.meta, {
  does: "Migrate the database by the app's own command, in a container of a version's image, and switch to nothing",
  step: 'Migrate the database',
  example: 'npx tsx scripts/deploy/migrate.ts 1.4.0',
  settings: deploySettings,
  operands: { '[version]': 'the tag of each image of IMAGE; unless told the version that runs' },
  flags: {
    image: repeatable('--image <reference>', 'this image, by tag or digest; one for each of IMAGE'),
    newEnvironment: newEnvironmentFlag,
  },
  changes: true,
  reports: true,
  reaches: 'hosts or service',
  async run(context) {
    const { flags, operands, report, json } = context;
    const { openStrategy, lockDeployment } = await import('../../lib/deploy/open.ts');
    const { lookAtMigration, migrateOnce } = await import('../../lib/deploy/update.ts');

    const named = { version: operands[0], images: flags.image };
    const strategy = await openStrategy({ ...context, newEnvironment: flags.newEnvironment });
    await lockDeployment(context, 'migrate');
    const prospect = await lookAtMigration(strategy, named, context);
    const migrated = await migrateOnce(strategy, prospect, context);
    if (!migrated) return;
    report.data(json ? JSON.stringify(migrated) : `migrated with ${migrated.version}`);
  },
});
