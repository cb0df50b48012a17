import { allowPlainFlag, identitySettings, storeSettings } from '../../lib/backup/settings.ts';
import type { Failure } from '../../lib/failure.ts';
import { script } from '../../lib/script.ts';

await script(import.meta, {
  does: 'Read a backup to its last byte and compare it with its manifest',
  step: 'Verify a backup',
  example: 'npx tsx scripts/backup/verify.ts latest',
  settings: { ...storeSettings, ...identitySettings },
  flags: { allowPlain: allowPlainFlag },
  operands: { '[id]': 'the backup, by its id; "latest" (the default) is the newest complete one' },
  reports: true,
  async run(context) {
    const { settings, flags, operands, report, json } = context;
    const { encryptedBy } = await import('../../lib/backup/catalog.ts');
    const { findBackup } = await import('../../lib/backup/restore.ts');
    const { asFinding } = await import('../../lib/backup/transfer.ts');
    const { openSettingsStore, recoveryOf } = await import('../../lib/backup/open.ts');
    const { describeVerification, refuseDamaged, verifyBackup } = await import('../../lib/backup/verify.ts');

    const store = await openSettingsStore(context);
    const passed: Failure[] = [];
    const passOver = (doubt: Failure) => void passed.push(doubt);
    const by = encryptedBy(settings, flags.allowPlain);
    const manifest = await asFinding(() =>
      findBackup(store, settings.APP, operands[0] ?? 'latest', passOver, by),
    );
    if ((await store.keepsVersions?.()) === false)
      report.warn(
        `the bucket of ${store.uri} keeps no versions: whoever may write can overwrite backups. Next: turn versioning on (docs/backup.md)`,
      );
    const recovery = await recoveryOf(context, store, manifest.id);
    const result = await verifyBackup(
      manifest,
      recovery,
      settings.BACKUP_IDENTITY_FILE !== undefined,
      context,
    );
    report.data(json ? JSON.stringify(result) : describeVerification(result));
    refuseDamaged(result, passed);
  },
});
