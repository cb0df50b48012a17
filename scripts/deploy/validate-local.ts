import { existsSync } from 'node:fs';
import { flag } from '../../lib/definition.ts';
import { validateSettings } from '../../lib/deploy/settings.ts';
import { script } from '../../lib/script.ts';

await script(import.meta, {
  does: 'Try the app of this checkout with Docker Compose: build, start, wait until healthy, ask its addresses',
  step: 'Validate locally',
  example: 'npx tsx scripts/deploy/validate-local.ts --env-file .env.local',
  settings: validateSettings,
  targetless: true,
  flags: {
    cleanup: flag('--cleanup', 'remove what validations of this checkout started, and do nothing else'),
  },
  changes: true,
  reports: true,
  async run(context) {
    const { settings, flags, host, report, dryRun, json } = context;
    const { projectName, readProject } = await import('../../lib/deploy/compose-project.ts');
    const { refuseOthers } = await import('../../lib/deploy/validate.ts');
    const { cleanUp } = await import('../../lib/deploy/validate.ts');
    const lib = await import('../../lib/deploy/validate.ts');

    if (flags.cleanup) return cleanUp({ name: projectName(settings.APP), mark: process.cwd() }, context);
    const here = settings.SECRETS_FILE === '.env' || existsSync(settings.SECRETS_FILE);
    if (!here)
      report.info(`no ${settings.SECRETS_FILE} in this checkout: Compose reads what it finds by itself`);
    const { SECRETS_FILE, ...others } = settings;
    const project = await readProject(host, settings.APP, here ? { ...others, SECRETS_FILE } : others);
    await refuseOthers(host, project);
    await lib.start(project, settings.HEALTH_TIMEOUT, context);
    if (dryRun) return;
    const findings = await report.step('check containers and addresses', () =>
      lib.check(project, settings.VALIDATE_URLS, context),
    );
    report.summary(lib.describe(findings));
    if (json) report.data(JSON.stringify({ project: project.name, findings }));
    lib.refuseInvalid(findings, project);
    report.info(`it goes on running; to remove it: npx tsx scripts/deploy/validate-local.ts --cleanup`);
  },
});
