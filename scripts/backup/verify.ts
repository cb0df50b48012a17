import type { Flow } from '../../lib/backup/encryption.ts';
import type { PartRecord, Recovery, Stored } from '../../lib/backup/manifest.ts';
import { allowPlainFlag, identitySettings, storeSettings } from '../../lib/backup/settings.ts';
import { EXIT, Failure } from '../../lib/failure.ts';
import { bytes, count, duration, table } from '../../lib/format.ts';
import type { Step } from '../../lib/output.ts';
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
    const { settings, flags, report, json } = context;
    const { openBackup } = await import('../../lib/backup/open.ts');
    const { asFinding } = await import('../../lib/backup/transfer.ts');

    const { manifest, recovery, passed } = await asFinding(() => openBackup(context, flags.allowPlain));
    const { id, store } = recovery;
    if ((await store.keepsVersions?.()) === false)
      report.warn(
        `the bucket of ${store.uri} keeps no versions: whoever may write can overwrite backups. Next: turn versioning on (docs/backup.md)`,
      );
    // Without an identity, encrypted files are only looked at from outside.
    const presenceOnly = manifest.recipient !== null && settings.BACKUP_IDENTITY_FILE === undefined;
    const parts: Finding[] = [];
    for (const part of manifest.parts) {
      const { kind, name, bytesIn } = part;
      const started = performance.now();
      const problems = await report.step(`read ${kind} ${name}`, async (step) => {
        const found = await problemsOf(part, recovery, presenceOnly, step);
        step.note(resultOf(found));
        return found;
      });
      parts.push({ kind, name, bytes: bytesIn, ms: performance.now() - started, problems });
    }
    report.data(
      json ? JSON.stringify({ id, sealed: presenceOnly, parts }) : describe(id, presenceOnly, parts),
    );
    refuseDamaged(id, parts, passed);
  },
});

/** What was found of one part. */
interface Finding {
  kind: string;
  name: string;
  bytes: number;
  ms: number;
  problems: string[];
}

async function problemsOf(
  part: PartRecord,
  recovery: Recovery,
  presenceOnly: boolean,
  step: Step,
): Promise<string[]> {
  const { objectsOf } = await import('../../lib/backup/examine.ts');
  const { checkContent, checkPresence } = await import('../../lib/backup/references.ts');
  if ('tree' in part)
    return presenceOnly ? checkPresence(part, recovery) : checkContent(part, recovery, step);
  const decrypter = presenceOnly ? { decrypt: async (flow: Flow) => flow } : recovery.decrypter;
  const problems: string[] = [];
  for (const object of objectsOf(part)) {
    const problem = await problemOf(object, part.name, { ...recovery, decrypter }, step);
    if (problem !== undefined) problems.push(problem);
  }
  return problems;
}

/** Why one object is not what was stored; undefined where it is. */
async function problemOf(
  object: Stored,
  part: string,
  recovery: Recovery,
  step: Step,
): Promise<string | undefined> {
  const { isDamage, readStored } = await import('../../lib/backup/transfer.ts');
  const onBytes = (done: number) => step.progress({ done, total: object.bytes, unit: 'bytes' });
  try {
    await readStored(object, part, { ...recovery, onBytes }, async (plain) => {
      for await (const _ of plain);
    });
    return undefined;
  } catch (error) {
    if (isDamage(error)) return error.message;
    throw error;
  }
}

function resultOf(problems: readonly string[]): string {
  return problems.length === 0 ? 'as stored' : count(problems.length, 'problem');
}

function describe(id: string, presenceOnly: boolean, parts: readonly Finding[]): string {
  const rows = parts.map((p) => [p.kind, p.name, bytes(p.bytes), duration(p.ms), resultOf(p.problems)]);
  return [
    `verified ${id}`,
    table([['part', 'name', 'size', 'time', 'result'], ...rows], [2, 3]),
    ...parts.flatMap((part) => part.problems).map((problem) => `✗ ${problem}`),
    ...(presenceOnly
      ? ['the files were not read: they are encrypted, and BACKUP_IDENTITY_FILE is not set']
      : []),
  ].join('\n');
}

/** @throws Failure with exit 3 when anything is missing or not what was stored, or a newer one was passed over */
function refuseDamaged(id: string, parts: readonly Finding[], passed: readonly Failure[]): void {
  const [problem, ...more] = parts.flatMap((part) => part.problems);
  const [newer] = passed;
  if (problem !== undefined)
    throw new Failure(
      `backup ${id} is damaged: ${problem}${more.length > 0 ? ` (and ${more.length} more)` : ''}`,
      { exit: EXIT.problem, next: 'take a new backup, and restore from another one until then' },
    );
  if (newer)
    throw new Failure(`a backup newer than ${id} is none: ${newer.message}`, {
      exit: EXIT.problem,
      next: `see who wrote it; ${id} was verified in its place`,
    });
}
