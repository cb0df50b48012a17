import { allowPlainFlag, identitySettings, sourceSettings } from '../../lib/backup/settings.ts';
import { script } from '../../lib/script.ts';

await script(import.meta, {
  does: 'Prove a backup: restore it into throw-away places, compare it with its manifest, time it',
  step: 'Drill, every week',
  example: 'npx tsx scripts/backup/drill.ts',
  settings: { ...sourceSettings, ...identitySettings },
  flags: { allowPlain: allowPlainFlag },
  operands: { '[id]': 'the backup, by its id; "latest" (the default) is the newest complete one' },
  changes: true,
  reports: true,
  lock: 'backup',
  async run(context) {
    const { settings, flags, operands, report, dryRun, json } = context;
    const { encryptedBy } = await import('../../lib/backup/catalog.ts');
    const { findBackup } = await import('../../lib/backup/restore.ts');
    const { asFinding } = await import('../../lib/backup/transfer.ts');
    const { describeDrill, drill, refuseUnproven } = await import('../../lib/backup/drill.ts');
    const { restorersOf } = await import('../../lib/backup/parts.ts');
    const { openSettingsStore, recoveryOf } = await import('../../lib/backup/open.ts');

    const store = await openSettingsStore(context);
    const passOver = ({ message }: Error) => report.warn(`passed over: ${message}`);
    const by = encryptedBy(settings, flags.allowPlain);
    const manifest = await asFinding(() =>
      findBackup(store, settings.APP, operands[0] ?? 'latest', passOver, by),
    );
    const recovery = await recoveryOf(context, store, manifest.id);
    const restorers = restorersOf(manifest.parts, settings, recovery, { kind: 'drill' });
    const result = await drill(manifest, restorers, recovery.stateDir, context);
    if (dryRun) return;
    report.data(json ? JSON.stringify(result) : describeDrill(result));
    refuseUnproven(result);
  },
});
