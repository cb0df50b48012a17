import { EXIT, Failure } from '../failure.ts';
import { bytes, count, duration, table } from '../format.ts';
import type { Step } from '../report.ts';
import type { Context } from '../script.ts';
import { checkContent, checkPresence } from './files/check.ts';
import type { Manifest, PartRecord, Stored } from './manifest.ts';
import type { Recovery } from './part.ts';
import { isDamage, openStored, usingStored } from './stored.ts';

/** What was found of one part. */
interface Finding {
  kind: string;
  name: string;
  bytes: number;
  ms: number;
  problems: string[];
}

export interface Verification {
  id: string;
  /** Encrypted contents were only looked at from outside: no identity was there. */
  sealed: boolean;
  parts: Finding[];
}

/** Reads all that a backup consists of, to the last byte, and compares it with the manifest. */
export async function verifyBackup(
  manifest: Manifest,
  recovery: Recovery,
  hasIdentity: boolean,
  { report }: Pick<Context, 'report'>,
): Promise<Verification> {
  const sealed = manifest.recipient !== null && !hasIdentity;
  const parts: Finding[] = [];
  for (const part of manifest.parts) {
    const started = performance.now();
    const { kind, name } = part;
    const problems = await report.step(`read ${kind} ${name}`, async (step) => {
      const found = await problemsOf(part, recovery, sealed, step);
      step.note(found.length === 0 ? 'as stored' : count(found.length, 'problem'));
      return found;
    });
    parts.push({ kind, name, bytes: part.bytesIn, ms: performance.now() - started, problems });
  }
  return { id: manifest.id, sealed, parts };
}

async function problemsOf(
  part: PartRecord,
  recovery: Recovery,
  sealed: boolean,
  step: Step,
): Promise<string[]> {
  if (part.kind === 'directory' || part.kind === 'bucket') {
    return sealed ? checkPresence(part, recovery) : checkContent(part, recovery, step);
  }
  const objects = part.kind === 'postgres' ? [part.dump, part.globals] : [part.dump];
  const problems: string[] = [];
  for (const object of objects)
    problems.push(...(await problemOf(object, part.name, recovery, sealed, step)));
  return problems;
}

/** Whether one object is what was stored; opened, too, where there is an identity. */
async function problemOf(
  object: Stored,
  part: string,
  recovery: Recovery,
  sealed: boolean,
  step: Step,
): Promise<string[]> {
  const total = object.bytes;
  const onBytes = (done: number) => step.progress({ done, total, unit: 'bytes' });
  try {
    const opener = sealed ? { open: async <T>(flow: T) => flow } : recovery.opener;
    await usingStored(object, part, recovery, async () => {
      for await (const _ of await openStored(object, part, { store: recovery.store, opener }, onBytes));
    });
    return [];
  } catch (error) {
    if (isDamage(error)) return [error.message];
    throw error;
  }
}

export function describeVerification({ id, sealed, parts }: Verification): string {
  const rows = parts.map((p) => [
    ...[p.kind, p.name, bytes(p.bytes), duration(p.ms)],
    p.problems.length === 0 ? 'as stored' : count(p.problems.length, 'problem'),
  ]);
  const text = `verified ${id}\n${table([['part', 'name', 'size', 'time', 'result'], ...rows], [2, 3])}`;
  const problems = parts.flatMap((p) => p.problems).map((problem) => `✗ ${problem}`);
  const note = sealed
    ? ['files were not looked into: they are encrypted, and BACKUP_IDENTITY_FILE is not set']
    : [];
  return [text, ...problems, ...note].join('\n');
}

/** @throws Failure with exit 3 when anything is missing or not what was stored, or a newer one was passed over */
export function refuseDamaged({ id, parts }: Verification, passed: readonly Failure[]): void {
  const problems = parts.flatMap((part) => part.problems);
  const [newer] = passed;
  if (problems.length === 0 && newer) {
    throw new Failure(`a backup newer than ${id} is none: ${newer.message}`, {
      exit: EXIT.problem,
      next: `see who wrote it; ${id} was verified in its place`,
    });
  }
  if (problems.length === 0) return;
  throw new Failure(
    `backup ${id} is damaged: ${problems[0]}${problems.length > 1 ? ` (and ${problems.length - 1} more)` : ''}`,
    {
      exit: EXIT.problem,
      next: 'take a new backup, and restore from another one until then',
    },
  );
}
