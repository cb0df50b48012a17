import { repeatable } from '../../lib/definition.ts';
import type { AppSettings, DeployedApp, Plan } from '../../lib/deploy/deployment.ts';
import type { Named } from '../../lib/deploy/request.ts';
import { deploySettings, newEnvironmentFlag } from '../../lib/deploy/settings.ts';
import { script } from '../../lib/script.ts';

await script(import.meta, {
  does: "Migrate the database by the app's own command, in a container of a version's image, without deploying it",
  step: 'Migrate the database',
  example: 'npx tsx scripts/deploy/migrate.ts 1.4.0',
  settings: deploySettings,
  operands: { '[version]': 'the tag of each image of IMAGE (default: the version that runs)' },
  flags: {
    image: repeatable('--image <reference>', 'this image, by tag or digest; one for each of IMAGE'),
    newEnvironment: newEnvironmentFlag,
  },
  changes: true,
  reports: true,
  reaches: 'hosts or service',
  async run(context) {
    const { settings, flags, operands, report, change, json } = context;
    const { MIGRATE_COMMAND: command = '', APP_SERVICE: service } = settings;
    const { who } = await import('../../lib/deploy/deployment.ts');
    const deploy = await import('../../lib/deploy/deploy.ts');

    // Nothing is changed yet.
    const app = await deploy.openApp(context, flags);
    await deploy.lockDeployment(context, 'migrate');
    const plan = await preflight(app, settings, { version: operands[0], images: flags.image });

    // From here on something is changed.
    const started = Date.now();
    const { obtain, migrate } = plan.commands;
    const release = await change(`make ${plan.version} available`, obtain, (step) => plan.obtain(step));
    const attempt = { ...release!, did: 'migrate', who: who(), migrated: true, started } as const;
    const what = [...migrate, `${command} in a container of ${service}`];
    await change(`migrate with ${plan.version}`, what, async () => {
      // It is run once, however many hosts there are. A rollback has to know of it.
      await deploy.migrate(app, attempt, command, (line) => report.info(line));
      await app.record(deploy.recordOf(attempt, false));
    });
    if (!release) return;
    const image = release.images[service]?.reference ?? '';
    const migrated = { version: release.version, image, ms: Date.now() - started };
    report.data(json ? JSON.stringify(migrated) : `migrated with ${migrated.version}`);
  },
});

/**
 * Checks the image that migrates: that of what is named, or of what runs.
 * @throws Failure with exit 2 when there is no command, or nothing is named and nothing runs
 */
async function preflight(app: DeployedApp, settings: AppSettings, named: Named): Promise<Plan> {
  const { EXIT, Failure } = await import('../../lib/failure.ts');
  if (settings.MIGRATE_COMMAND === undefined)
    throw new Failure('MIGRATE_COMMAND is not set', {
      exit: EXIT.usage,
      next: 'set it, for example MIGRATE_COMMAND=alembic upgrade head',
    });
  const { requestOf } = await import('../../lib/deploy/request.ts');
  if (named.version !== undefined || named.images?.length)
    return app.preflight(requestOf(named, settings.IMAGE));
  const running = await app.running();
  if (running) return app.preflightRelease(running);
  throw new Failure('what runs is not one version, so that its image is not known', {
    exit: EXIT.usage,
    next: 'name the version whose image migrates',
  });
}
