import { flag } from '../../lib/definition.ts';
import { script } from '../../lib/script.ts';
import { secretsSettings } from '../../lib/server/secret-settings.ts';

await script(import.meta, {
  does: "Write the app's env file from its secrets in Secrets Manager or Parameter Store",
  step: 'Fetch secrets',
  example: 'npx tsx scripts/server/fetch-secrets.ts --check',
  settings: secretsSettings,
  flags: {
    check: flag(
      '--check',
      'write nothing; exit 3 when store, file and running containers differ (names only)',
    ),
    prune: flag('--prune', 'remove from the file what neither the template nor the store knows'),
  },
  changes: true,
  reports: true,
  lock: 'secrets',
  async run(context) {
    const { settings, flags, report, host, change, dryRun, json } = context;
    const [{ readEnvFile, readTemplate }, { needAddresses, readSecrets, refuseEmpty }, { openStores }] =
      await Promise.all([
        import('../../lib/server/secrets.ts'),
        import('../../lib/server/secrets.ts'),
        import('../../lib/server/secret-stores.ts'),
      ]);
    const { isCurrent, makeFile } = await import('../../lib/server/env-template.ts');
    const { changedNames, describeMarks } = await import('../../lib/server/env-template.ts');
    const { rewriteHostFile } = await import('../../lib/host-files.ts');
    const { recreateCommand, tellStale } = await import('../../lib/server/stale.ts');

    const addresses = needAddresses(settings.SECRETS_FROM);
    const [file, template] = [await readEnvFile(host, settings), await readTemplate(host, settings)];
    const from = addresses.map(({ uri }) => uri).join(' and ');
    const secrets = await report.step(`read ${from}`, async () =>
      readSecrets(await openStores(addresses, settings.AWS_REGION)),
    );
    refuseEmpty(secrets);
    const made = makeFile(file, template, secrets, { from, prune: flags.prune === true });

    if (flags.check) {
      const { describeDrift, drift, refuseDrift } = await import('../../lib/server/stale.ts');
      const { runningServices, staleNames } = await import('../../lib/server/stale.ts');
      const services = await runningServices(host, settings);
      const found = drift(file, made, services);
      report.data(json ? JSON.stringify({ file: file.path, drift: found }) : describeDrift(found));
      return refuseDrift(found, file, recreateCommand(host, settings, staleNames(services)));
    }

    if (made.unused.length > 0)
      report.info(`stored, but not asked for by the template: ${made.unused.join(', ')}`);
    if (made.kept.length > 0)
      report.info(`only in the file, and kept (--prune removes them): ${made.kept.join(', ')}`);
    if (!json) report.data(describeMarks(made.marks));
    const names = changedNames(made.marks);
    if (isCurrent(file, made)) report.info(`${file.path} is as it should be`);
    else
      await change(`write ${file.path}`, names, async (step) => {
        await rewriteHostFile(host, file.path, file.text, made.text);
        step.note(names.length > 0 ? `changed: ${names.join(', ')}` : 'no value changed');
      });
    const recreate = dryRun ? [] : await tellStale(host, settings, report);
    if (json)
      report.data(JSON.stringify({ file: file.path, names: Object.fromEntries(made.marks), recreate }));
  },
});
