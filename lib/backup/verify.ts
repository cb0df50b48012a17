import type { Context } from '../definition.ts';
import { EXIT, Failure } from '../failure.ts';
import { bytes, count, duration, table } from '../format.ts';
import type { Step } from '../output.ts';
import { forEach } from '../pool.ts';
import { contentKey } from './blobs.ts';
import type { Opener } from './encryption.ts';
import type { Manifest, PartRecord, Recovery, Stored } from './manifest.ts';
import type { Listed, Store } from './store.ts';
import { contentFlow, Damaged, isDamage, openStored, usingStored } from './transfer.ts';
import { type Content, contentsOfTree, copiedTree, type FilesPart, readTree, suffixOfPart } from './tree.ts';

interface Reading {
  store: Store;
  opener: Opener;
  signal: AbortSignal;
}

/**
 * Reads every content of a part from the store and compares its SHA-256.
 * @returns a line for each that is missing, truncated or another, with a file that it belongs to
 */
export async function checkContent(part: FilesPart, reading: Reading, step: Step): Promise<string[]> {
  let contents: Content[];
  try {
    const { store, opener } = reading;
    contents = [...contentsOfTree(await readTree(part, { store, opener }), part).values()];
  } catch (error) {
    if (isDamage(error)) return [error.message];
    throw error;
  }
  const total = contents.length;
  const suffix = suffixOfPart(part);
  const problems: string[] = [];
  let done = 0;
  await forEach(contents, {
    signal: reading.signal,
    act: async ({ sha256, bytes, path }) => {
      const label = `${part.name}: ${path}`;
      const wanted = { key: contentKey(sha256, suffix), measure: { sha256, bytes }, label };
      try {
        for await (const _ of contentFlow(reading, wanted));
      } catch (error) {
        if (!isDamage(error)) throw error;
        problems.push(error instanceof Damaged ? error.message : `${label}: ${error.message}`);
      }
      done += 1;
      step.progress({ done, total, unit: 'files' });
    },
  });
  return problems.sort();
}

/**
 * Looks in a listing whether every content of a part is there and long enough, for those who may not read it. Without
 * the copy of the tree that the host keeps which took the backup, only the tree is looked for.
 */
export async function checkPresence(
  part: FilesPart,
  { store, stateDir }: { store: Store; stateDir: string },
): Promise<string[]> {
  const tree = copiedTree(stateDir, part.tree.sha256);
  const wanted: Content[] = [{ ...part.tree, path: 'its list of files' }];
  if (tree) wanted.push(...contentsOfTree(tree, part).values());
  const there = new Map<string, Listed>();
  for await (const object of store.list('content/')) there.set(object.key, object);
  const suffix = suffixOfPart(part);
  return wanted.flatMap(({ sha256, bytes, path }) => {
    const key = contentKey(sha256, suffix);
    const found = there.get(key);
    const content = `${part.name}: ${path}: its content ${store.address(key)}`;
    if (!found) return [`${content} is missing`];
    return found.bytes < bytes ? [`${content} has ${found.bytes} of ${bytes} bytes`] : [];
  });
}

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
