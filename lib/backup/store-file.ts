import { constants } from 'node:fs';
import { access, lchown, mkdir, open, readdir, rename, rm, rmdir, stat, statfs } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Failure } from '../failure.ts';
import { localHost } from '../hosts/local.ts';
import { writeSparse } from './files/write.ts';
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
  let known: Promise<[number, number]> | undefined;
  const owner = () => {
    known ??= nearest(directory)
      .then((existing) => stat(existing))
      .then(({ uid, gid }) => [uid, gid]);
    return known;
  };

  /** Makes a folder and those above it, for the store's owner. */
  async function makeFolder(folder: string): Promise<void> {
    const belongs = isRoot ? await owner() : undefined;
    const first = await mkdir(folder, { recursive: true, mode: 0o700 });
    if (!belongs || first === undefined) return;
    for (let made = folder; made.length >= first.length; made = dirname(made)) await lchown(made, ...belongs);
  }

  async function write(key: string, body: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): Promise<void> {
    const partial = `${path(key)}${PARTIAL}`;
    try {
      await makeFolder(dirname(partial));
      const file = await open(partial, WRITE, 0o600);
      try {
        if (!(await file.stat()).isFile()) throw new Corrupted(`${partial} is no file`);
        if (isRoot) await file.chown(...(await owner()));
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
      await rename(partial, path(key));
    } catch (error) {
      await rm(partial, { force: true });
      throw explained(error, path(key));
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
        await makeFolder(dirname(folder));
        await mkdir(folder, { mode: 0o700 });
        if (isRoot) await lchown(folder, ...(await owner()));
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'EEXIST') throw new Taken(`${folder} is there already`);
        throw explained(error, folder);
      }
      await write(key, [body]);
    },
    putStream: (key, body) => write(key, body),
    async get(key) {
      try {
        const file = await open(path(key), READ);
        if ((await file.stat()).isFile()) return file.createReadStream({ highWaterMark: 1 << 16 });
        await file.close();
      } catch (error) {
        throw explained(error, path(key));
      }
      throw new Corrupted(`${path(key)} is no file, and no object of a backup`);
    },
    list: (prefix) => listBelow(directory, prefix),
    async remove(keys) {
      for (const key of keys) {
        await rm(path(key), { force: true });
        await removeIfEmpty(dirname(path(key)), directory);
      }
    },
    // One sync of the file system instead of an fsync for each of many small files.
    settle: async () => void (await localHost().run({ argv: ['sync', '--file-system', directory] })),
    async free() {
      const { bavail, bsize } = await statfs(await nearest(directory));
      return bavail * bsize;
    },
  };
}

async function checkDirectory(directory: string): Promise<void> {
  const existing = await nearest(directory);
  try {
    await access(existing, constants.R_OK | constants.W_OK | constants.X_OK);
  } catch (error) {
    throw explained(error, existing);
  }
  // Below a parent that is not there either, a missing directory is rather an unmounted disk than a first run.
  if (existing !== directory && existing !== dirname(directory) && existing !== dirname(dirname(directory))) {
    throw new Failure(`BACKUP_STORE file://${dirname(directory)} is not there, nor is its parent`, {
      next: `mount it, or create it: mkdir -p ${dirname(directory)}`,
    });
  }
}

/** The directory itself, or the nearest above it that exists. */
async function nearest(directory: string): Promise<string> {
  try {
    await stat(directory);
    return directory;
  } catch {
    return nearest(dirname(directory));
  }
}

async function* listBelow(directory: string, prefix: string): AsyncIterable<Listed> {
  const start = join(directory, prefix.slice(0, prefix.lastIndexOf('/') + 1));
  let entries: Awaited<ReturnType<typeof readEntries>>;
  try {
    entries = await readEntries(start);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw explained(error, start);
  }
  for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const key = join(start, entry.name).slice(directory.length + 1);
    if (entry.isDirectory()) {
      if (`${key}/`.startsWith(prefix) || prefix.startsWith(`${key}/`))
        yield* listBelow(directory, `${key}/`);
    } else if (entry.isFile() && key.startsWith(prefix) && !key.endsWith(PARTIAL)) {
      const { size, mtime } = await stat(join(directory, key));
      yield { key, bytes: size, modified: mtime };
    }
  }
}

const readEntries = (directory: string) => readdir(directory, { withFileTypes: true });

async function removeIfEmpty(directory: string, top: string): Promise<void> {
  if (directory === top) return;
  try {
    await rmdir(directory);
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
    ELOOP: ['is a link, and no object of a backup', 'look who made it, and remove it'],
    ENXIO: ['is a pipe, and no object of a backup', 'look who made it, and remove it'],
    EROFS: ['the disk is mounted read-only', 'mount it writable'],
  };
  const [said, next] = known[code ?? ''] ?? [];
  if (said && (code === 'ELOOP' || code === 'ENXIO')) return new Corrupted(`${path}: ${said}`, next);
  const Kind = code === 'EACCES' ? Unreadable : Failure;
  return said && next ? new Kind(`${path}: ${said}`, { next, cause: error }) : error;
}
