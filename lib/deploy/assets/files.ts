import { createHash } from 'node:crypto';
import { createReadStream, type Dirent, readdirSync, type Stats, statSync } from 'node:fs';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import mime from 'mime';
import { EXIT, Failure } from '../../failure.ts';
import { forEach } from '../../pool.ts';
import { cacheControl, isImmutable, type Stage, stageOf } from './names.ts';

/** A file as it is to be in the bucket. */
export interface Asset {
  /** Below the directory, with slashes on every system. */
  path: string;
  file: string;
  bytes: number;
  /** MD5 in hexadecimal: what S3 calls the ETag of an object that came in one request. */
  md5: string;
  contentType: string;
  cacheControl: string;
  stage: Stage;
}

/** @throws Failure when the directory is not there, has no file, or has files that nobody means to publish */
export async function readAssets(
  directory: string,
  immutable: readonly string[],
  signal: AbortSignal,
): Promise<Asset[]> {
  const found: Array<{ path: string; stats: Stats }> = [];
  walk(directory, '', found);
  if (found.length === 0)
    throw new Failure(`${directory} has no file in it`, {
      next: 'build the files first, or correct ASSETS_DIRECTORY',
    });
  refusePrivate(
    directory,
    found.map(({ path }) => path),
  );
  const assets: Asset[] = [];
  await forEach(found, {
    signal,
    act: async ({ path, stats }) => {
      const file = join(directory, path);
      const isConstant = isImmutable(path, immutable);
      assets.push({
        ...{ path, file, bytes: stats.size, md5: await md5(file, signal), contentType: contentType(path) },
        ...{ cacheControl: cacheControl(isConstant), stage: stageOf(path) },
      });
    },
  });
  return assets.sort((a, b) => (a.path < b.path ? -1 : 1));
}

function walk(directory: string, folder: string, found: Array<{ path: string; stats: Stats }>): void {
  for (const entry of entriesOf(join(directory, folder))) {
    const path = folder === '' ? entry.name : `${folder}/${entry.name}`;
    // A link to a file is that file; one to a directory may lead in a circle.
    const stats = statSync(join(directory, path));
    if (entry.isDirectory()) walk(directory, path, found);
    else if (stats.isFile()) found.push({ path, stats });
    else
      throw new Failure(`${join(directory, path)} is no file`, {
        next: 'put files and directories there, no links',
      });
  }
}

function entriesOf(directory: string): Dirent[] {
  try {
    return readdirSync(directory, { withFileTypes: true });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new Failure(`${directory}: ${code === 'ENOENT' ? 'is not there' : `cannot be read (${code})`}`, {
      exit: EXIT.usage,
      next: 'build the files first, or correct ASSETS_DIRECTORY',
      cause: error,
    });
  }
}

/** A directory with these in it is not the one that was built. */
function refusePrivate(directory: string, paths: readonly string[]): void {
  const secret = paths.find((path) => /(^|\/)(\.git\/|\.env($|\.)|[^/]+\.(pem|key)$)/.test(path));
  if (secret === undefined) return;
  throw new Failure(`${join(directory, secret)} would be published`, {
    next: 'remove it, or correct ASSETS_DIRECTORY',
  });
}

async function md5(file: string, signal: AbortSignal): Promise<string> {
  const hash = createHash('md5');
  await pipeline(createReadStream(file), hash, { signal });
  return hash.digest('hex');
}

/** Of its extension; texts are UTF-8. */
function contentType(path: string): string {
  const type = mime.getType(path) ?? 'application/octet-stream';
  return type.startsWith('text/') ? `${type}; charset=utf-8` : type;
}
