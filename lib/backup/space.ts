import { statfs } from 'node:fs/promises';
import { Failure } from '../failure.ts';
import { bytes } from '../format.ts';

/** What must stay free on a disk beside what we write to it. */
const RESERVE = 64 * 1024 * 1024;

/** @throws Failure when the disk of `directory` has no room for `needed` bytes more */
export async function enoughSpace(directory: string, needed: number, what: string): Promise<void> {
  const { bavail, bsize } = await statfs(directory);
  refuseIfShort(bavail * bsize, needed, directory, what);
}

/** @throws Failure when `free` is not enough for `needed` and a reserve */
export function refuseIfShort(free: number, needed: number, where: string, what: string): void {
  if (free >= needed + RESERVE) return;
  throw new Failure(`${what} needs ${bytes(needed)}, ${where} has ${bytes(free)} free`, {
    next: `free space on the disk of ${where}`,
  });
}
