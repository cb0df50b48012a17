import { open, rename, rm } from 'node:fs/promises';
import { Failure } from '../../../failure.ts';
import { mask } from '../../../secret.ts';
import type { Verification } from '../verify.ts';
import { page } from './page.ts';

/**
 * Writes the report for its owner alone, whole or not at all: what a browser has open is never half of one.
 * @throws Failure when it cannot be written there
 */
export async function writePage(file: string, found: Verification): Promise<void> {
  const fresh = `${file}.${process.pid}.new`;
  try {
    const handle = await open(fresh, 'wx', 0o600);
    try {
      // Masked before it is escaped: escaping changes a secret that has a & in it.
      await handle.writeFile(page(JSON.parse(mask(JSON.stringify(found))) as Verification));
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(fresh, file);
  } catch (error) {
    await rm(fresh, { force: true }).catch(() => {});
    const code = (error as NodeJS.ErrnoException).code;
    throw new Failure(`--html ${file}: not written (${code})`, {
      next: 'name a file in a folder that you may write to',
      cause: error,
    });
  }
}
