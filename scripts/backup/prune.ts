import { decrypter } from '../../lib/backup/encryption.ts';
import { isManifest } from '../../lib/backup/id.ts';
import { judge, judgeByAge, keepLarger, refuseAbsurd } from '../../lib/backup/retention.ts';
import {
  identitySettings,
  retentionSettings,
  sourceSettings,
  storeSettings,
} from '../../lib/backup/settings.ts';
import { Unreadable } from '../../lib/backup/store.ts';
import { flag, option } from '../../lib/definition.ts';
import { messageOf } from '../../lib/failure.ts';
import { bytes, count, parseAge, table } from '../../lib/format.ts';
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
    const { settings, flags, report, change, dryRun, json } = context;
    const { openStore } = await import('../../lib/backup/open.ts');
    const { catalog } = await import('../../lib/backup/catalog.ts');
    const { doubtPlain, encryptedBy, examineAll, examiner } = await import('../../lib/backup/examine.ts');
    const { findUnreferenced, storedBytes } = await import('../../lib/backup/references.ts');
    const { isFinished } = await import('../../lib/backup/blobs.ts');
    const { stateDirectory } = await import('../../lib/state.ts');

    // No impact yet.
    const store = await openStore(context);
    const where = { app: settings.APP, store, stateDir: stateDirectory(settings.APP_DIR) };
    const reader = { ...where, decrypter: decrypter(settings.BACKUP_IDENTITY_FILE) };
    const examined = await examineAll(await catalog(store), examiner(where), context.signal);
    const entries = doubtPlain(examined, encryptedBy(settings));
    const now = new Date();
    for (const { id, doubt } of entries)
      if (doubt) report.warn(`backup ${id} is left alone, and counts for nothing: ${doubt.message}`);
    if (!flags.force) refuseAbsurd(entries, settings.BACKUP_KEEP, now);
    let verdicts =
      flags.olderThan === undefined
        ? judge(entries, settings.BACKUP_KEEP, now)
        : judgeByAge(entries, flags.olderThan, now);
    if (!flags.force) {
      const larger = await keepLarger(verdicts, storedBytes(reader));
      for (const warning of larger.warnings) report.warn(warning);
      verdicts = larger.verdicts;
    }
    const rows = verdicts.map(({ entry: { id, state, bytes: size }, reasons }) => {
      return [id, state, bytes(size), reasons.length > 0 ? `keep: ${reasons.join(', ')}` : 'delete'];
    });
    report.summary(table([['backup', 'state', 'size', 'verdict'], ...rows], [2]));

    // From here on something is deleted.
    const kept = verdicts.filter(({ reasons }) => reasons.length > 0).map(({ entry }) => entry);
    const deleted = verdicts.filter(({ reasons }) => reasons.length === 0).map(({ entry }) => entry);
    const ids = (all: typeof kept) => all.map(({ id }) => id);
    for (const { id, state, objects } of deleted) {
      const keys = deletionOrder(
        id,
        objects.map(({ key }) => key),
      );
      const plan = keys.map((key) => `delete ${store.address(key)}`);
      await change(`delete ${id}`, plan, async (step) => {
        if (state === 'unfinished' && (await isFinished(store, id)))
          return step.note('it was finished meanwhile: left alone');
        await store.remove(keys.slice(0, 1));
        await store.remove(keys.slice(1));
      });
    }
    let unreferenced = { keys: [] as string[], bytes: 0 };
    try {
      unreferenced = await findUnreferenced(kept, reader, now);
      const { keys } = unreferenced;
      const title = `delete ${count(keys.length, 'file')} that no backup refers to`;
      if (keys.length > 0) await change(title, [bytes(unreferenced.bytes)], () => store.remove(keys));
      if (!dryRun) await forget(ids(kept), where);
    } catch (error) {
      report.warn(notCollected(error));
    }
    const { keys, bytes: size } = unreferenced;
    const result = { deleted: ids(deleted), kept: ids(kept), contents: keys.length, bytes: size };
    if (json) report.data(JSON.stringify(result));
  },
});

/** The order in which a backup is deleted: its manifest first, so that from then on it is none, whatever happens. */
export function deletionOrder(id: string, keys: readonly string[]): string[] {
  return [...keys].sort((a, b) => Number(isManifest(b, id)) - Number(isManifest(a, id)));
}

/** Says why files were left alone: what a kept backup refers to is not known. */
function notCollected(error: unknown): string {
  const next =
    error instanceof Unreadable
      ? 'run prune once with the credentials of a reader that may delete'
      : 'see what that backup is; if it is not yours, delete it by hand';
  return `files that no backup refers to were not collected (${messageOf(error)}). Next: ${next}`;
}

/** Removes this host's copies of manifests and trees of backups that are gone. */
export async function forget(
  kept: readonly string[],
  { app, stateDir }: { app: string; stateDir: string },
): Promise<void> {
  const { localManifest, removeLocalManifests } = await import('../../lib/backup/catalog.ts');
  const { forgetTrees } = await import('../../lib/backup/tree.ts');
  const parts = kept.flatMap((id) => localManifest(stateDir, app, id)?.parts ?? []);
  removeLocalManifests(stateDir, new Set(kept));
  forgetTrees(stateDir, new Set(parts.flatMap((part) => ('tree' in part ? part.tree.sha256 : []))));
}
