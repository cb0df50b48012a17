import { constants, lchownSync, mkdirSync, statSync } from 'node:fs';
import { access, lstat, open, readdir, rename, rm, rmdir, statfs } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { cmd } from '../command.ts';
import { Failure } from '../failure.ts';
import { localHost } from '../hosts.ts';
import { type HeldDirectory, hold, nearest, realPath, writeSparse } from './file-system.ts';
import { Corrupted, type Listed, Missing, type Store, Taken, Unreadable } from './store.ts';

/** What is being written carries this until it is whole; listings do not see it. */
const PARTIAL = '.partial';

/** What somebody put there instead of an object, a link or a pipe, is neither followed nor waited for. */
const READ = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
const WRITE =
  constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC | constants.O_NOFOLLOW | constants.O_NONBLOCK;

const isRoot = process.getuid?.() === 0;

/**
 * A store in a directory: for its owner alone, also where root writes, and every object appears whole or not at all.
 */
export function fileStore(directory: string, signal: AbortSignal): Store {
  const path = (key: string) => join(directory, key);
  let known: { uid: number; gid: number } | undefined;
  const owner = () => {
    known ??= statSync(nearest(directory));
    return known;
  };

  /** Makes a folder in one that is held, for the store's owner. @throws EEXIST */
  async function makeIn({ at }: HeldDirectory, name: string): Promise<void> {
    const { uid, gid } = owner();
    mkdirSync(`${at}/${name}`, 0o700);
    if (isRoot) lchownSync(`${at}/${name}`, uid, gid);
  }

  /** Does something in a folder, which is made where it is not there. */
  async function inMade<T>(folder: string, act: (held: HeldDirectory) => Promise<T>): Promise<T> {
    try {
      return await inFolder(folder, act);
    } catch (error) {
      if (!(error instanceof NoFolder)) throw error;
    }
    await inMade(dirname(folder), (above) => makeIn(above, basename(folder)).catch(unless('EEXIST')));
    return inFolder(folder, act);
  }

  async function write(key: string, body: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): Promise<void> {
    try {
      await inMade(dirname(path(key)), (held) => writeIn(held, basename(key), body));
    } catch (error) {
      throw explained(error, path(key));
    }
  }

  async function writeIn(
    { at: folder }: HeldDirectory,
    name: string,
    body: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  ): Promise<void> {
    const partial = `${folder}/${name}${PARTIAL}`;
    try {
      const file = await open(partial, WRITE, 0o600);
      try {
        if (!(await file.stat()).isFile()) throw new Corrupted(`${name}${PARTIAL} is not a file`);
        if (isRoot) await file.chown(owner().uid, owner().gid);
        let at = 0;
        for await (const chunk of body) {
          signal.throwIfAborted();
          await writeSparse(file, chunk, at);
          at += chunk.byteLength;
        }
        await file.truncate(at);
      } finally {
        await file.close();
      }
      signal.throwIfAborted();
      await rename(partial, `${folder}/${name}`);
    } catch (error) {
      await rm(partial, { force: true });
      throw error;
    }
  }

  return {
    uri: `file://${directory}`,
    address: (key) => `file://${path(key)}`,
    check: () => checkDirectory(directory),
    put: (key, body) => write(key, [body]),
    async claim(key, body) {
      const folder = dirname(path(key));
      try {
        await inMade(dirname(folder), (above) => makeIn(above, basename(folder)));
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'EEXIST') throw new Taken(`${folder} is there already`);
        throw explained(error, folder);
      }
      await write(key, [body]);
    },
    putStream: (key, body) => write(key, body),
    async get(key) {
      try {
        const file = await inFolder(dirname(path(key)), ({ at }) => open(`${at}/${basename(key)}`, READ));
        if ((await file.stat()).isFile()) return file.createReadStream({ highWaterMark: 1 << 16 });
        await file.close();
      } catch (error) {
        throw explained(error, path(key));
      }
      throw new Corrupted(`${path(key)} is not a file, and so not an object of a backup`);
    },
    list: (prefix) => listBelow(directory, prefix),
    async remove(keys) {
      for (const key of keys) {
        const folder = dirname(path(key));
        await inFolder(folder, ({ at }) => rm(`${at}/${basename(key)}`, { force: true })).catch(
          unless('ENOENT'),
        );
        await removeIfEmpty(folder, directory);
      }
    },
    // One sync of the file system instead of an fsync for each of many small files.
    settle: async () => void (await localHost().run(cmd`sync --file-system ${directory}`)),
    async free() {
      const { bavail, bsize } = await statfs(nearest(directory));
      return bavail * bsize;
    },
  };
}

/** There is no such folder; an object that is missing in one is not this error. */
class NoFolder extends Error {
  code = 'ENOENT';
}

/**
 * Does something in a folder that is held meanwhile. Whoever owns the store, or what it lies in, would have root work
 * elsewhere by a link.
 */
async function inFolder<T>(folder: string, act: (held: HeldDirectory) => Promise<T>): Promise<T> {
  let held: HeldDirectory;
  try {
    held = hold(realPath(folder));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') throw new NoFolder(`${folder} is not there`);
    throw error;
  }
  try {
    return await act(held);
  } finally {
    held.release();
  }
}

/** Handles an error of this code by doing nothing; any other is thrown again. */
const unless = (code: string) => (error: NodeJS.ErrnoException) => {
  if (error.code !== code) throw error;
};

async function checkDirectory(directory: string): Promise<void> {
  const existing = nearest(directory);
  try {
    await access(existing, constants.R_OK | constants.W_OK | constants.X_OK);
  } catch (error) {
    throw explained(error, existing);
  }
  // Below a parent that is not there either, a missing directory is rather an unmounted disk than a first run.
  const parent = dirname(directory);
  if (![directory, parent, dirname(parent)].includes(existing)) {
    throw new Failure(`BACKUP_STORE file://${parent} is not there, nor is its parent`, {
      next: `mount it, or create it: mkdir -p ${parent}`,
    });
  }
}

async function* listBelow(directory: string, prefix: string): AsyncIterable<Listed> {
  const start = join(directory, prefix.slice(0, prefix.lastIndexOf('/') + 1));
  let found: Awaited<ReturnType<typeof lookIn>>;
  try {
    found = await inFolder(start, ({ at }) => lookIn(at, start.slice(directory.length + 1), prefix));
  } catch (error) {
    if (error instanceof NoFolder) return;
    throw explained(error, start);
  }
  for (const one of found) {
    if (typeof one === 'string') yield* listBelow(directory, one);
    else yield one;
  }
}

/** The objects of one folder, and the prefixes of the folders in it, in the order of their names. */
async function lookIn(at: string, folder: string, prefix: string): Promise<Array<Listed | string>> {
  const entries = await readdir(at, { withFileTypes: true });
  const found: Array<Listed | string> = [];
  for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const key = `${folder}${entry.name}`;
    if (entry.isDirectory()) {
      if (`${key}/`.startsWith(prefix) || prefix.startsWith(`${key}/`)) found.push(`${key}/`);
    } else if (entry.isFile() && key.startsWith(prefix) && !key.endsWith(PARTIAL)) {
      const { size, mtime } = await lstat(`${at}/${entry.name}`);
      found.push({ key, bytes: size, modified: mtime });
    }
  }
  return found;
}

async function removeIfEmpty(directory: string, top: string): Promise<void> {
  if (directory === top) return;
  try {
    await inFolder(dirname(directory), ({ at }) => rmdir(`${at}/${basename(directory)}`));
  } catch {
    return;
  }
  await removeIfEmpty(dirname(directory), top);
}

function explained(error: unknown, path: string): unknown {
  const { code } = error as NodeJS.ErrnoException;
  if (code === 'ENOENT')
    return new Missing(`${path} is not there`, { next: 'npx tsx scripts/backup/list.ts' });
  const known: Record<string, [string, string]> = {
    ENOSPC: ['no space left on the disk', 'free space: npx tsx scripts/backup/prune.ts, or a larger disk'],
    EDQUOT: ['no space left in the quota', 'free space: npx tsx scripts/backup/prune.ts, or a larger quota'],
    EACCES: ['permission denied', 'give this user the right to read and write there'],
    ELOOP: ['is a link, and so not an object of a backup', 'see who made it, and remove it'],
    ENXIO: ['is a pipe, and so not an object of a backup', 'see who made it, and remove it'],
    EROFS: ['the disk is mounted read-only', 'mount it writable'],
  };
  const [said, next] = known[code ?? ''] ?? [];
  if (!said || !next) return error;
  if (code === 'ELOOP' || code === 'ENXIO') return new Corrupted(`${path}: ${said}`, next);
  const Kind = code === 'EACCES' ? Unreadable : Failure;
  return new Kind(`${path}: ${said}`, { next, cause: error });
}
