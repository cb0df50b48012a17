import { createHash } from 'node:crypto';
import { mkdir, open } from 'node:fs/promises';
import { join } from 'node:path';

/** A generated file: its path below the directory, and its size in bytes. */
export type Made = [path: string, size: number];

/** Bytes that files are cut from; they do not compress, as uploads do not. */
const POOL_BYTES = 16 * 1024 * 1024;

/** The same bytes each time: a hash of a hash. */
function pool(): Buffer {
  const bytes = Buffer.alloc(POOL_BYTES);
  let block = createHash('sha512').update('opsbook').digest();
  for (let at = 0; at < POOL_BYTES; at += block.length) {
    block.copy(bytes, at);
    block = createHash('sha512').update(block).digest();
  }
  return bytes;
}

/** A number from 0 to 1 that is the same for the same index and salt. */
function share(index: number, salt: string): number {
  return createHash('sha256').update(`${salt}${index}`).digest().readUInt32BE(0) / 2 ** 32;
}

/** Sizes as uploads have them: log-normal, with many small ones and a few of megabytes. */
function sizeOf(index: number, mean: number): number {
  const sigma = 1.4;
  const normal = Math.sqrt(-2 * Math.log(1 - share(index, 'a'))) * Math.cos(2 * Math.PI * share(index, 'b'));
  const size = mean * Math.exp(sigma * normal - sigma ** 2 / 2);
  return Math.round(Math.min(Math.max(size, 64), 7_000_000));
}

/**
 * Makes `count` files of `mean` bytes on average in directories of 200, each with a content of its own.
 */
export async function makeFiles(directory: string, count: number, mean: number): Promise<Made[]> {
  const bytes = pool();
  const made: Made[] = [];
  for (let index = 0; index < count; index += 1) {
    const folder = `u${String(Math.floor(index / 200)).padStart(4, '0')}`;
    if (index % 200 === 0) await mkdir(join(directory, folder), { recursive: true });
    const size = sizeOf(index, mean);
    const path = `${folder}/upload ${index}.jpg`;
    const file = await open(join(directory, path), 'w');
    const name = Buffer.from(`${index}\n`.padEnd(16));
    const from = Math.floor(share(index, 'c') * (POOL_BYTES - size));
    await file.writev([name, bytes.subarray(from, from + Math.max(0, size - name.length))]);
    await file.close();
    made.push([path, size]);
  }
  return made;
}
