import {
  closeSync,
  constants,
  createWriteStream,
  existsSync,
  fchmodSync,
  fchownSync,
  fstatSync,
  lstatSync,
  openSync,
  renameSync,
} from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { Failure } from '../../failure.ts';
import type { Step } from '../../report.ts';
import { realPath } from '../files/places.ts';
import { unzstd } from '../flow.ts';
import { dateOf } from '../id.ts';
import type { SqlitePart } from '../manifest.ts';
import type { Recovery, Restored, Restorer } from '../part.ts';
import { differences } from '../rows.ts';
import { enoughSpace } from '../space.ts';
import { openStored, usingStored } from '../stored.ts';
import { besideOf, copyDatabase, createFile, inDirectoryOf, inspect, removeDatabase } from './database.ts';

interface Target {
  /** The live database's file. */
  live: string;
  /** Where it comes back. */
  beside: string;
  /** A name that was given by `--to` is nobody's to overwrite; a drill's is for nobody's eyes. */
  for: 'live' | 'to' | 'drill';
}

/** A SQLite database that comes back beside the live one. */
export function sqliteRestorer(part: SqlitePart, target: Target, recovery: Recovery): Restorer {
  const { beside } = target;
  return {
    part,
    plan: [`get ${recovery.store.address(part.dump.key)}`, `  → ${beside}`],
    async prepare() {
      if (target.for === 'live') realPath(target.live);
      if (target.for === 'to' && isThere(beside))
        throw new Failure(`${beside} exists already`, { next: 'name another by --to' });
      const directory = dirname(beside);
      if (!existsSync(directory)) {
        throw new Failure(`${part.name}: ${directory} is not there`, {
          next: `mount it, or make it as the app's user: mkdir -p ${directory}`,
        });
      }
      await enoughSpace(dirname(beside), part.bytesIn, `restoring ${part.name}`);
    },
    restoreBeside: (step) => restoreBeside(part, target, recovery, step),
  };
}

async function restoreBeside(
  part: SqlitePart,
  target: Target,
  recovery: Recovery,
  step: Step,
): Promise<Restored> {
  const { live, beside } = target;
  const { signal, id, report } = recovery;
  let kept = '';
  const discard = async () => removeDatabase(beside);
  try {
    await clearBeside(beside, id);
    await usingStored(part.dump, part.name, recovery, async () => {
      const plain = await openStored(part.dump, part.name, recovery, (done) =>
        step.progress({ done, total: part.dump.bytes, unit: 'bytes' }),
      );
      const file = createWriteStream(beside, { fd: createFile(beside) });
      await pipeline(Readable.from(unzstd(plain), { objectMode: false }), file, { signal });
    });
    // A live file stays where it is, and keeps its owner.
    if (target.for === 'to' || (target.for === 'live' && !existsSync(live))) {
      const owner = await ownerOf(part, live);
      give(beside, owner);
      const warning = await unusable(beside, owner);
      if (warning) report.warn(`${part.name}: ${warning}`);
    }
  } catch (error) {
    await discard();
    throw error;
  }
  return {
    place: beside,
    compare: async () => differences(part.tables, inspect(beside)),
    async swapIn() {
      const before = free(`${live}_before_${id}`);
      const old = existsSync(live) ? before : '';
      await replace(live, before, beside);
      kept = old;
      return kept;
    },
    async swapBack() {
      if (kept) await copyDatabase(ownFile(kept), realPath(live));
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
    if (name === before + middle + after && dateOf(middle)) removeDatabase(join(dirname(beside), name));
  }
}

function free(base: string): string {
  let name = base;
  for (let n = 2; isThere(name); n += 1) name = `${base}_${n}`;
  return name;
}

/** Also a link that leads nowhere: who writes there would make what it names. */
const isThere = (path: string) => lstatSync(path, { throwIfNoEntry: false }) !== undefined;

/** What SQLite will read becomes the app's: no link may stand for it. */
function ownFile(file: string): string {
  if (lstatSync(file).isFile()) return file;
  throw new Failure(`${file} is no regular file: not used`, { next: 'see who made it, and remove it' });
}

interface Owner {
  uid: number;
  gid: number;
  mode: number;
}

/** Of the live file; else what the backup says of it; else, of older backups, the directory's, for its owner alone. */
async function ownerOf({ owner }: SqlitePart, live: string): Promise<Owner> {
  const now = await stat(live).catch(() => undefined);
  if (now || owner) return now ?? (owner as Owner);
  const { uid, gid } = await stat(dirname(live));
  return { uid, gid, mode: 0o600 };
}

/** Gives a file of ours to its owner. */
function give(file: string, owner: Owner): void {
  const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = constants;
  const handle = inDirectoryOf(file, (own) => openSync(own, O_RDONLY | O_NOFOLLOW | O_NONBLOCK));
  try {
    const { uid, nlink } = fstatSync(handle);
    if (nlink > 1 || (uid !== owner.uid && uid !== process.geteuid?.()))
      throw new Failure(`${file} is not what was restored any more: not given to its owner`, {
        next: `see who changed it: ls -l ${file}`,
      });
    giveOpen(handle, owner);
  } finally {
    closeSync(handle);
  }
}

function giveOpen(handle: number, { uid, gid, mode }: Owner): void {
  if (process.getuid?.() === 0) fchownSync(handle, uid, gid);
  fchmodSync(handle, mode & 0o777);
}

/** What keeps the owner from using a file that was given to him. */
async function unusable(file: string, { uid, gid }: Owner): Promise<string | undefined> {
  const user = process.getuid?.();
  if (user !== 0) {
    if (user === uid) return undefined;
    return `it belongs to user ${user} now, and was user ${uid}'s: only root can give it back`;
  }
  const directory = dirname(file);
  const is = await stat(directory);
  const right = is.uid === uid ? 0o300 : is.gid === gid ? 0o030 : 0o003;
  if (uid === 0 || (is.mode & right) === right) return undefined;
  return `its owner, user ${uid}, may not write to ${directory}, where SQLite makes files beside it: chown or chmod it`;
}

/**
 * Keeps the live database as `kept` and gives it the content of `next`, through SQLite: who has it open sees
 * the new content in the next transaction. What is no database any more is moved away instead.
 */
async function replace(live: string, kept: string, next: string): Promise<void> {
  ownFile(next);
  if (!existsSync(live)) return moveIn(live, kept, next);
  const file = realPath(live);
  const was = await stat(file);
  const handle = createFile(kept);
  try {
    await copyDatabase(file, kept);
    await copyDatabase(next, file);
    giveOpen(handle, was);
  } catch (error) {
    removeDatabase(kept);
    if (!/malformed|not a database/.test(String(error))) throw error;
    move(live, kept);
    moveIn(live, kept, next);
    give(live, was);
  } finally {
    closeSync(handle);
  }
  removeDatabase(next);
}

/** Renames `next` to where no `live` is. What SQLite kept beside one that was there would be taken for its own. */
function moveIn(live: string, kept: string, next: string): void {
  const aside = besideOf(kept);
  for (const [i, file] of besideOf(live).entries()) if (isThere(file)) move(file, aside[i] as string);
  move(next, live);
  removeDatabase(next);
}

/** Renames a file in its directory. */
const move = (from: string, to: string) =>
  inDirectoryOf(from, (own) => renameSync(own, join(dirname(own), basename(to))));

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
