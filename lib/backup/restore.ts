import { checkAll, Failure } from '../failure.ts';
import { bytes, count, duration, table } from '../format.ts';
import type { Context } from '../script.ts';
import { catalog, fetchManifest } from './catalog.ts';
import { type encryptedBy, examiner, newestSound, plainDoubt } from './examine.ts';
import { chooseId } from './id.ts';
import type { Manifest } from './manifest.ts';
import type { Restored, Restorer } from './part.ts';
import { describeRows } from './rows.ts';
import { type Store, Unreadable } from './store.ts';

/**
 * The manifest of the backup that an operator means: an id or `latest`, which is the newest that is complete.
 * @throws Corrupted when it is plain where backups are encrypted: whoever may write to the store may have put it there
 */
export async function findBackup(
  store: Store,
  app: string,
  wanted: string,
  /** Hears of each newer one that was passed over, because it is not what its name says. */
  passOver: (doubt: Failure) => void,
  by: ReturnType<typeof encryptedBy>,
): Promise<Manifest> {
  const entries = await catalog(store);
  if (wanted === 'latest' && entries.some(({ state }) => state === 'complete')) {
    const { newest, passed } = await newestSound(entries, examiner({ app, store, encryptedBy: by }));
    const [first] = passed.map(({ doubt }) => doubt);
    if (first && (!newest?.manifest || first instanceof Unreadable)) throw first;
    for (const { doubt } of passed) if (doubt) passOver(doubt);
    if (newest?.manifest) return newest.manifest;
  }
  const offered = entries.filter(
    ({ state }) => state === 'complete' || (wanted !== 'latest' && state === 'partial'),
  );
  // One that is asked for by its id is told that it was never finished.
  const unfinished = entries.filter(({ id, state }) => id === wanted && state === 'unfinished');
  const candidates = [...offered, ...unfinished];
  const id = chooseId(
    wanted,
    candidates.map((entry) => entry.id),
    entries.length > candidates.length ? `${store.uri} that is complete` : store.uri,
  );
  const entry = candidates.find((e) => e.id === id);
  const manifest = await fetchManifest(store, app, entry as (typeof candidates)[number]);
  const plain = plainDoubt(manifest, by);
  if (plain) throw plain;
  return manifest;
}

/** What is about to be restored, for whoever has to say yes. */
export function describeRestore(manifest: Manifest, restorers: readonly Restorer[], now: Date): string {
  const age = duration(now.getTime() - Date.parse(manifest.started));
  const rows = restorers.map(({ part }) => [part.kind, part.name, bytes(part.bytesIn), contents(part)]);
  return `backup ${manifest.id} of ${manifest.app}, ${age} old\n${table([['part', 'name', 'size', 'holds'], ...rows], [2])}`;
}

function contents(part: Manifest['parts'][number]): string {
  if ('files' in part) return count(part.files, 'file');
  return describeRows(part.tables);
}

/** A restored part, with how long it took to bring it back. */
export interface Brought {
  restorer: Restorer;
  restored: Restored;
  ms: number;
  differences: string[];
}

/**
 * Brings every part back beside the live ones and compares each with the manifest. When one fails, all that was
 * brought is removed again: nothing live was touched.
 */
export async function bringAll(
  restorers: readonly Restorer[],
  { change }: Pick<Context, 'change'>,
  where = 'beside the live one',
): Promise<Brought[]> {
  await checkAll(restorers.map((restorer) => () => restorer.prepare()));
  const brought: Brought[] = [];
  try {
    for (const restorer of restorers) {
      const { part, plan } = restorer;
      const started = performance.now();
      await change(`restore ${part.kind} ${part.name} ${where}`, plan, async (step) => {
        const restored = await restorer.restoreBeside(step);
        const one: Brought = { restorer, restored, ms: performance.now() - started, differences: [] };
        brought.push(one);
        one.differences = await restored.compare();
        step.note(`${bytes(part.bytesIn)} → ${restored.place}, ${verdict(one.differences, part)}`);
      });
    }
  } catch (error) {
    await discardAll(brought);
    throw error;
  }
  return brought;
}

const verdict = (differences: readonly string[], part: Manifest['parts'][number]) =>
  differences.length > 0
    ? `${count(differences.length, 'difference')} to the manifest`
    : `equal: ${contents(part)}`;

export async function discardAll(brought: readonly Brought[]): Promise<void> {
  for (const { restored } of brought) await restored.discard();
}

/** @throws Failure naming what differs from the manifest; what was brought is removed first */
export async function refuseDifferent(brought: readonly Brought[]): Promise<void> {
  const lines = brought.flatMap(({ restorer, differences }) =>
    differences.map((line) => `${restorer.part.kind} ${restorer.part.name}: ${line}`),
  );
  const [first] = lines;
  if (first === undefined) return;
  await discardAll(brought);
  throw new Failure(
    `what came back is not what was backed up: ${first}${lines.length > 1 ? ` (and ${lines.length - 1} more)` : ''}`,
    {
      next: 'restore another backup; nothing live was touched',
    },
  );
}

/** What a swapped-in part was before, under the name that `--undo` finds it by. */
export interface Kept {
  kind: Manifest['parts'][number]['kind'];
  name: string;
  kept: string;
}

/**
 * Puts all parts into the live ones' places; when one cannot be, those before it are put back. Each is remembered at
 * once: what a killed run had swapped can be undone.
 */
export async function swapAll(
  brought: readonly Brought[],
  { change }: Pick<Context, 'change'>,
  remember: (kept: Kept[], undone?: true) => void,
): Promise<Kept[]> {
  const kept: Kept[] = [];
  try {
    for (const { restorer, restored } of brought) {
      const { kind, name } = restorer.part;
      await change(`swap ${kind} ${name} in`, [], async (step) => {
        const old = await restored.swapIn();
        kept.push({ kind, name, kept: old });
        remember(kept);
        step.note(old ? `the old one is kept as ${old}` : 'there was none before');
      });
    }
    return kept;
  } catch (error) {
    for (const { restored } of brought.slice(0, kept.length).reverse()) await restored.swapBack();
    if (kept.length > 0) remember(kept, true);
    await discardAll(brought);
    throw error;
  }
}
