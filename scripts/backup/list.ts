import { join } from 'node:path';
import type { Entry } from '../../lib/backup/catalog.ts';
import type { KnownParts } from '../../lib/backup/list.ts';
import { sourceSettings, storeSettings } from '../../lib/backup/settings.ts';
import { option } from '../../lib/definition.ts';
import { parseAge } from '../../lib/format.ts';
import { script } from '../../lib/script.ts';

await script(import.meta, {
  does: 'List the backups in the store, with sizes; or check that the newest is fresh',
  step: 'Look at the backups',
  example: 'npx tsx scripts/backup/list.ts --max-age 26h',
  settings: { ...storeSettings, BACKUP_RECIPIENT: sourceSettings.BACKUP_RECIPIENT },
  flags: {
    maxAge: option('--max-age <age>', 'exit 3 when the newest complete backup is older: 26h, 2d', parseAge),
  },
  reports: true,
  async run(context) {
    const { settings, flags, report, json } = context;
    const { catalog } = await import('../../lib/backup/catalog.ts');
    const { partsReader } = await import('../../lib/backup/list.ts');
    const { openSettingsStore } = await import('../../lib/backup/open.ts');
    const { describeStore, freshest, refuseStale, usage } = await import('../../lib/backup/list.ts');

    const store = await openSettingsStore(context);
    const entries = await catalog(store);
    const now = new Date();
    // A monitor asks often, and has no use for the sizes of ten thousand files.
    const use = flags.maxAge === undefined ? await usage(store) : undefined;
    const where = { app: settings.APP, store, stateDir: join(settings.APP_DIR, '.opsbook') };
    const partsOf = partsReader(flags.maxAge === undefined ? where : { ...where, remembered: true });
    const listing: Array<Entry & { known: KnownParts }> = [];
    // The newest first: where that may not be read, no other is asked for.
    for (const entry of entries.toReversed()) listing.unshift({ ...entry, known: await partsOf(entry) });
    const backups = listing.map(({ id, state, started, bytes, known: { parts, whole } }) => {
      return { id, state, started, bytes, parts, whole };
    });
    report.data(
      json
        ? JSON.stringify({ store: store.uri, backups, ...use })
        : describeStore(store.uri, listing, use, now),
    );
    if (flags.maxAge === undefined) return;
    const { encryptedBy, examiner } = await import('../../lib/backup/catalog.ts');
    const asked = { ...where, encryptedBy: encryptedBy(settings) };
    const { newest, warnings } = await freshest(entries, examiner(asked));
    for (const warning of warnings) report.warn(warning);
    refuseStale(store.uri, newest, flags.maxAge, now);
  },
});
