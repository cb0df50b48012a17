import type { Manifest } from '../../lib/backup/manifest.ts';
import type { RestoredPart } from '../../lib/backup/restore.ts';
import { allowPlainFlag, identitySettings, sourceSettings } from '../../lib/backup/settings.ts';
import { EXIT, Failure } from '../../lib/failure.ts';
import { bytes, duration, table } from '../../lib/format.ts';
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
    const { settings, flags, report, dryRun, json } = context;
    const { openBackup } = await import('../../lib/backup/open.ts');
    const { discardAll, restoreAll, restorersOf } = await import('../../lib/backup/restore.ts');
    const { asFinding, isDamage } = await import('../../lib/backup/transfer.ts');
    const { appendLine } = await import('../../lib/state.ts');

    // No impact yet.
    const { manifest, recovery, passed } = await asFinding(() => openBackup(context, flags.allowPlain));
    for (const { message } of passed) report.warn(`passed over: ${message}`);
    const { id, stateDir } = recovery;
    const restorers = restorersOf(manifest.parts, settings, recovery, { kind: 'drill' });

    // From here on something is written, beside the live data.
    if (!dryRun) await removeKilledDrills(stateDir);
    const parts: Proof[] = [];
    for (const restorer of restorers) {
      const started = performance.now();
      let restored: RestoredPart[] = [];
      let differences: string[];
      try {
        restored = await restoreAll([restorer], context, 'into a throw-away place');
        differences = restored.flatMap((part) => part.differences);
      } catch (error) {
        // A damaged backup is what a drill looks for; a store or server that does not answer is not.
        if (!isDamage(error)) throw error;
        differences = [error.message];
      }
      const { kind, name, bytesIn } = restorer.part;
      parts.push({ kind, name, bytes: bytesIn, ms: performance.now() - started, differences });
      await discardAll(restored);
    }
    if (dryRun) return;
    const ms = parts.reduce((sum, part) => sum + part.ms, 0);
    const equal = parts.every((part) => part.differences.length === 0);
    const drill = { id, at: new Date().toISOString(), ms: Math.round(ms), equal };
    appendLine(`${stateDir}/drills.jsonl`, JSON.stringify(drill));
    report.data(json ? JSON.stringify({ id, ms, parts }) : describe(manifest, ms, parts));
    refuseUnproven(manifest, parts);
  },
});

/** What a drill found of one part. */
interface Proof {
  kind: string;
  name: string;
  bytes: number;
  ms: number;
  /** What differs from the manifest; empty where the part is proven. */
  differences: string[];
}

/** Removes what killed drills left: each would be a copy of the app's files that nobody misses until the disk is full. */
async function removeKilledDrills(stateDir: string): Promise<void> {
  const { readdir } = await import('node:fs/promises');
  const { removeTree } = await import('../../lib/backup/file-system.ts');
  for (const name of await readdir(stateDir))
    if (/^drill-\d{8}-\d{6}/.test(name)) await removeTree(`${stateDir}/${name}`);
}

function describe({ id }: Manifest, ms: number, parts: readonly Proof[]): string {
  const rows = parts.map((p) => [
    ...[p.kind, p.name, bytes(p.bytes), duration(p.ms)],
    p.differences.length === 0 ? 'equal' : `DIFFERS: ${p.differences[0]}`,
  ]);
  return `drill of ${id}: ${duration(ms)}\n${table([['part', 'name', 'size', 'time', 'result'], ...rows], [2, 3])}`;
}

/** @throws Failure with exit 3 when a part is not what its manifest says */
function refuseUnproven({ id }: Manifest, parts: readonly Proof[]): void {
  const bad = parts.find((part) => part.differences.length > 0);
  if (!bad) return;
  throw new Failure(`backup ${id} is not proven: ${bad.kind} ${bad.name}: ${bad.differences[0]}`, {
    exit: EXIT.problem,
    next: 'drill the one before it, and take a new backup: npx tsx scripts/backup/backup.ts',
  });
}
