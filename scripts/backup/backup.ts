import { sourceSettings } from '../../lib/backup/settings.ts';
import { flag, repeatable, script } from '../../lib/script.ts';

await script(import.meta, {
  does: 'Back up the databases, directories and buckets of an app to its store',
  step: 'Back up, every night',
  example: 'npx tsx scripts/backup/backup.ts --env-file /opt/bloaty/.env',
  settings: sourceSettings,
  flags: {
    only: repeatable(
      '--only <part>',
      'only databases, directories, buckets, files, or a part by its name; repeatable',
    ),
    allowEmpty: flag('--allow-empty', 'an empty directory or bucket is what I expect'),
  },
  changes: true,
  reports: true,
  lock: 'backup',
  async run(context) {
    const { settings, flags, report, host, signal, json } = context;
    const [
      { freshId, prepareAll, skewed, summary, takeBackup },
      { openSettingsStore, stateOf },
      { catalog },
    ] = await Promise.all([
      import('../../lib/backup/backup.ts'),
      import('../../lib/backup/open.ts'),
      import('../../lib/backup/catalog.ts'),
    ]);
    const { selectSources, sourcesOf } = await import('../../lib/backup/sources.ts');
    const { sealer } = await import('../../lib/backup/seal.ts');

    const all = sourcesOf(settings, context);
    const sources = selectSources(all, flags.only);
    const store = await openSettingsStore(context);
    await store.check();
    const entries = await catalog(store);
    const now = new Date();
    const warning = skewed(entries, now);
    if (warning) report.warn(warning);

    const work = {
      ...{ id: freshId(entries, now), host, store, report, signal, appDir: settings.APP_DIR },
      sealer: await sealer(settings.BACKUP_RECIPIENT),
      stateDir: stateOf(context),
      allowEmpty: flags.allowEmpty === true,
    };
    const prepared = await prepareAll(sources, work);
    const manifest = await takeBackup(context, work, prepared, sources.length === all.length);
    if (!manifest) return;
    report.summary(summary(manifest));
    report.output('backup-id', manifest.id);
    report.data(json ? JSON.stringify(manifest) : manifest.id);
  },
});
