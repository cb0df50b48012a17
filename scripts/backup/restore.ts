import { allowPlainFlag, identitySettings, sourceSettings } from '../../lib/backup/settings.ts';
import { flag, option, repeatable } from '../../lib/definition.ts';
import { script } from '../../lib/script.ts';

await script(import.meta, {
  does: 'Restore a backup beside the live data, check it, and swap it in',
  step: 'Restore',
  example: 'npx tsx scripts/backup/restore.ts latest',
  settings: { ...sourceSettings, ...identitySettings },
  operands: { '[id]': 'the backup, by its id; "latest" (the default) is the newest complete one' },
  flags: {
    only: repeatable(
      '--only <part>',
      'only databases, directories, buckets, files, or a part by its name; repeatable',
    ),
    to: option<string>(
      '--to <name>',
      'restore the one part as this database, directory or bucket, and leave the live one',
    ),
    allowPlain: allowPlainFlag,
    allowSetuid: flag('--allow-setuid', 'restore the setuid and setgid bits of files as well'),
    undo: flag('--undo', 'put back what the last restore replaced'),
    force: flag('--force', 'the same as --yes'),
  },
  changes: true,
  reports: true,
  asks: true,
  lock: 'backup',
  async run(context) {
    const { settings, flags, operands, report, change, confirm, dryRun, json } = context;
    const lib = await import('../../lib/backup/restore.ts');
    const { encryptedBy } = await import('../../lib/backup/catalog.ts');
    const { restorersOf, selectParts } = await import('../../lib/backup/parts.ts');
    const { undo } = await import('../../lib/backup/restore.ts');
    const { rememberRestoration } = await import('../../lib/backup/restore.ts');
    const { openSettingsStore, recoveryOf } = await import('../../lib/backup/open.ts');

    if (flags.undo) return undo(context);
    const store = await openSettingsStore(context);
    const passOver = ({ message }: Error) => report.warn(`passed over: ${message}`);
    const by = encryptedBy(settings, flags.allowPlain);
    const manifest = await lib.findBackup(store, settings.APP, operands[0] ?? 'latest', passOver, by);
    const recovery = {
      ...(await recoveryOf(context, store, manifest.id)),
      allowSetuid: flags.allowSetuid,
    };
    const parts = selectParts(manifest, flags.only);
    const destination =
      flags.to === undefined ? ({ kind: 'live' } as const) : ({ kind: 'to', name: flags.to } as const);
    const restorers = restorersOf(parts, settings, recovery, destination);

    report.summary(lib.describeRestore(manifest, restorers, new Date()));
    if (!flags.to) await confirm('This replaces the live data (which is kept). Go on?');
    const brought = await lib.bringAll(restorers, context, flags.to ? `as ${flags.to}` : undefined);
    await lib.refuseDifferent(brought);
    if (flags.to) return report.data(json ? JSON.stringify({ id: manifest.id, to: flags.to }) : flags.to);
    const now = { id: manifest.id, at: new Date().toISOString() };
    const kept = await lib.swapAll(brought, { change }, (parts, undone) =>
      rememberRestoration(recovery.stateDir, { ...now, parts, ...(undone && { undone }) }),
    );
    if (dryRun) return;
    report.info(`restored ${manifest.id}; to take it back: npx tsx scripts/backup/restore.ts --undo`);
    report.data(json ? JSON.stringify({ id: manifest.id, parts: kept }) : manifest.id);
  },
});
