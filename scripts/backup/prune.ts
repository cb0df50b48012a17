import {
  identitySettings,
  retentionSettings,
  sourceSettings,
  storeSettings,
} from '../../lib/backup/settings.ts';
import { flag, option } from '../../lib/definition.ts';
import { parseAge } from '../../lib/format.ts';
import { script } from '../../lib/script.ts';

await script(import.meta, {
  does: 'Delete the backups that the retention policy does not keep, then files that none refers to',
  step: 'Prune backups, every week',
  example: 'npx tsx scripts/backup/prune.ts --dry-run',
  settings: {
    ...{ ...storeSettings, ...retentionSettings, ...identitySettings },
    BACKUP_RECIPIENT: sourceSettings.BACKUP_RECIPIENT,
  },
  flags: {
    olderThan: option('--older-than <age>', 'go by age instead of BACKUP_KEEP: 7d, 12w', parseAge),
    force: flag('--force', 'delete even though the newest backup is overdue, or what stays far smaller'),
  },
  changes: true,
  reports: true,
  lock: 'backup',
  async run(context) {
    const { settings, flags, report, change, json } = context;
    const lib = await import('../../lib/backup/prune.ts');
    const { findGarbage, forget } = await import('../../lib/backup/prune.ts');
    const { openSettingsStore } = await import('../../lib/backup/open.ts');
    const { stateDirectory } = await import('../../lib/state.ts');
    const { catalog } = await import('../../lib/backup/catalog.ts');
    const { encryptedBy, examineAll, examiner } = await import('../../lib/backup/catalog.ts');
    const { isFinished } = await import('../../lib/backup/blobs.ts');
    const { keepLarger } = await import('../../lib/backup/prune.ts');
    const { opener } = await import('../../lib/backup/encryption.ts');
    const { bytes, count, table } = await import('../../lib/format.ts');

    const store = await openSettingsStore(context);
    const stateDir = stateDirectory(settings.APP_DIR);
    const examine = examiner({ app: settings.APP, store, stateDir });
    const found = await examineAll(await catalog(store), examine, context.signal);
    const entries = lib.doubtPlain(found, encryptedBy(settings));
    const now = new Date();
    for (const { id, doubt } of entries)
      if (doubt) report.warn(`backup ${id} is left alone, and counts for nothing: ${doubt.message}`);
    if (!flags.force) lib.refuseAbsurd(entries, settings.BACKUP_KEEP, now);
    const where = {
      ...{ app: settings.APP, store, opener: await opener(settings.BACKUP_IDENTITY_FILE) },
      stateDir,
    };
    let verdicts =
      flags.olderThan === undefined
        ? lib.judge(entries, settings.BACKUP_KEEP, now)
        : lib.judgeByAge(entries, flags.olderThan, now);
    if (!flags.force) {
      const larger = await keepLarger(verdicts, where);
      for (const warning of larger.warnings) report.warn(warning);
      verdicts = larger.verdicts;
    }
    report.summary(
      table(
        [
          ['backup', 'state', 'size', 'verdict'],
          ...verdicts.map(({ entry, reasons }) => [
            ...[entry.id, entry.state, bytes(entry.bytes)],
            reasons.length > 0 ? `keep: ${reasons.join(', ')}` : 'delete',
          ]),
        ],
        [2],
      ),
    );

    const gone = verdicts.filter((v) => v.reasons.length === 0).map((v) => v.entry);
    const kept = verdicts.filter((v) => v.reasons.length > 0).map((v) => v.entry);
    for (const { id, state, objects } of gone) {
      const order = lib.deletionOrder(
        id,
        objects.map(({ key }) => key),
      );
      await change(
        `delete ${id}`,
        order.map((key) => `delete ${store.address(key)}`),
        async (step) => {
          if (state === 'unfinished' && (await isFinished(store, id)))
            return step.note('it was finished meanwhile: left alone');
          await store.remove(order.slice(0, 1));
          await store.remove(order.slice(1));
        },
      );
    }

    let collected = { keys: [] as string[], bytes: 0 };
    try {
      collected = await findGarbage(kept, where, now);
      const title = `delete ${count(collected.keys.length, 'file')} that no backup refers to`;
      if (collected.keys.length > 0)
        await change(title, [bytes(collected.bytes)], () => store.remove(collected.keys));
      if (!context.dryRun) forget(kept, where);
    } catch (error) {
      report.warn(lib.uncollected(error));
    }
    const ids = { deleted: gone.map((e) => e.id), kept: kept.map((e) => e.id) };
    if (json)
      report.data(JSON.stringify({ ...ids, contents: collected.keys.length, bytes: collected.bytes }));
  },
});
