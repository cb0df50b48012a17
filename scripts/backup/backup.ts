import type { Prepared } from '../../lib/backup/manifest.ts';
import { sourceSettings } from '../../lib/backup/settings.ts';
import { flag, repeatable } from '../../lib/definition.ts';
import { script } from '../../lib/script.ts';

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
    without: repeatable(
      '--without <part>',
      'the last complete backup had this part, and it is meant to have it no more; repeatable',
    ),
    allowEmpty: flag('--allow-empty', 'an empty directory or bucket is what I expect'),
  },
  changes: true,
  reports: true,
  lock: 'backup',
  async run(context) {
    const { settings, flags, report, host, signal, json } = context;
    const [
      { freshId, prepareAll, skewed, summary, takeBackup, writingOnce },
      { openSettingsStore, stateOf },
      { catalog },
      { lacking, lastComplete },
    ] = await Promise.all([
      import('../../lib/backup/backup.ts'),
      import('../../lib/backup/open.ts'),
      import('../../lib/backup/catalog.ts'),
      import('../../lib/backup/list.ts'),
    ]);
    const { nearNames, selectSources, sourcesOf } = await import('../../lib/backup/parts.ts');
    const { encrypter } = await import('../../lib/backup/encryption.ts');
    const { checkAll, throwAll } = await import('../../lib/failure.ts');
    const { readEnvironment } = await import('../../lib/env-file.ts');

    const names = Object.keys(sourceSettings).filter((name) => name.startsWith('BACKUP_'));
    const { raw } = await readEnvironment(context.envFiles);
    const all = sourcesOf(settings, context);
    if (all.length === 0) throwAll(nearNames(names, raw, false).refused);
    const sources = selectSources(all, flags.only);
    const store = writingOnce(await openSettingsStore(context));
    await store.check();
    const entries = await catalog(store);
    const now = new Date();
    const warning = skewed(entries, now);
    if (warning) report.warn(warning);

    const work = {
      ...{ id: freshId(entries, now), host, store, report, signal, appDir: settings.APP_DIR },
      encrypter: await encrypter(settings.BACKUP_RECIPIENT),
      stateDir: stateOf(context),
      allowEmpty: flags.allowEmpty === true,
    };
    const known = { app: settings.APP, store, stateDir: work.stateDir ?? `${settings.APP_DIR}/.opsbook` };
    const whole = sources.length === all.length;
    const before = await lastComplete(entries, known);
    const near = nearNames(names, raw, before?.whole ?? false);
    for (const warning of near.warnings) report.warn(warning);
    throwAll(near.refused);
    const lacks = whole ? lacking(before, sources, flags.without ?? [], report) : [];
    // Who asks for these parts only is not told that there are others: it is a partial backup.
    const complete = whole && !(flags.only && lacks.length > 0);
    let prepared: Prepared[] = [];
    await checkAll([
      () => complete && throwAll(lacks),
      async () => {
        prepared = await prepareAll(sources, work);
      },
    ]);
    const manifest = await takeBackup(context, work, prepared, complete);
    if (!manifest) return;
    report.summary(summary(manifest));
    report.output('backup-id', manifest.id);
    report.data(json ? JSON.stringify(manifest) : manifest.id);
  },
});
