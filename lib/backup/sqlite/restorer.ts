import { createWriteStream, existsSync } from 'node:fs';
import { chmod, chown, readdir, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { Failure } from '../../failure.ts';
import type { Step } from '../../report.ts';
import { unzstd } from '../flow.ts';
import { dateOf } from '../id.ts';
import type { SqlitePart } from '../manifest.ts';
import type { Recovery, Restored, Restorer } from '../part.ts';
import { differences } from '../rows.ts';
import { enoughSpace } from '../space.ts';
import { openStored, usingStored } from '../stored.ts';
import { copyDatabase, inspect } from './database.ts';

interface Target {
  /** The live database's file. */
  live: string;
  /** Where it comes back. */
  beside: string;
  /** Whether a file of that name was left by a run of ours, and may be overwritten. */
  ours: boolean;
}

/** A SQLite database that comes back beside the live one. */
export function sqliteRestorer(part: SqlitePart, target: Target, recovery: Recovery): Restorer {
  const { live, beside, ours } = target;
  return {
    part,
    plan: [`get ${recovery.store.address(part.dump.key)}`, `  → ${beside}`],
    async prepare() {
      if (!ours && existsSync(beside))
        throw new Failure(`${beside} exists already`, { next: 'name another by --to' });
      await enoughSpace(dirname(beside), part.bytesIn, `restoring ${part.name}`);
    },
    restoreBeside: (step) => restoreBeside(part, live, beside, recovery, step),
  };
}

async function restoreBeside(
  part: SqlitePart,
  live: string,
  beside: string,
  recovery: Recovery,
  step: Step,
): Promise<Restored> {
  const { signal, id } = recovery;
  let kept = '';
  const discard = () => rm(beside, { force: true });
  try {
    await clearBeside(beside, id);
    await usingStored(part.dump, part.name, recovery, async () => {
      const plain = await openStored(part.dump, part.name, recovery, (done) =>
        step.progress({ done, total: part.dump.bytes, unit: 'bytes' }),
      );
      const file = createWriteStream(beside, { mode: 0o600, flags: 'wx' });
      await pipeline(Readable.from(unzstd(plain), { objectMode: false }), file, { signal });
    });
  } catch (error) {
    await discard();
    throw error;
  }
  return {
    place: beside,
    compare: async () => differences(part.tables, inspect(beside)),
    async swapIn() {
      kept = existsSync(live) ? free(`${live}_before_${id}`) : '';
      await replace(live, kept, beside);
      return kept;
    },
    async swapBack() {
      if (kept) await copyDatabase(kept, live);
    },
    discard,
  };
}

/** Removes what killed runs left under names like this one, of whatever backup. */
async function clearBeside(beside: string, id: string): Promise<void> {
  const [before = '', after] = basename(beside).split(id);
  if (after === undefined) return;
  for (const name of await readdir(dirname(beside))) {
    const middle = name.slice(before.length, name.length - after.length);
    if (name === before + middle + after && dateOf(middle)) await rm(join(dirname(beside), name));
  }
}

function free(base: string): string {
  let name = base;
  for (let n = 2; existsSync(name); n += 1) name = `${base}_${n}`;
  return name;
}

/**
 * Keeps the live database as `kept` and gives it the content of `next`, through SQLite: who has it open sees
 * the new content in the next transaction. What is no database any more is moved away instead.
 */
async function replace(live: string, kept: string, next: string): Promise<void> {
  if (kept === '') {
    await rename(next, live);
    return;
  }
  const { mode, uid, gid } = await stat(live);
  try {
    await copyDatabase(live, kept);
    await copyDatabase(next, live);
  } catch (error) {
    await rm(kept, { force: true });
    if (!/malformed|not a database/.test(String(error))) throw error;
    await rename(live, kept);
    for (const journal of ['-wal', '-shm', '-journal'])
      await rename(live + journal, kept + journal).catch(() => {});
    await rename(next, live);
  }
  await rm(next, { force: true });
  for (const file of [live, kept]) {
    await chmod(file, mode & 0o777);
    if (process.getuid?.() === 0) await chown(file, uid, gid);
  }
}

/** Puts `kept` back into the live place, and what was live aside; returns that file. */
export async function undoSqlite(live: string, kept: string, id: string): Promise<string> {
  if (!existsSync(kept)) {
    throw new Failure(`${kept} is not there any more: the restore cannot be undone`, {
      next: 'restore another backup',
    });
  }
  const aside = free(`${live}_undone_${id}`);
  await replace(live, aside, kept);
  return aside;
}
