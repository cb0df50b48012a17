import { isAbsolute, resolve } from 'node:path';
import { nameOf } from './paths.ts';

/** An item of BACKUP_DIRECTORIES. */
export interface DirectoryAddress {
  /** The part's name. */
  name: string;
  /** Absolute, or below APP_DIR. */
  path: string;
}

/** `uploads` below APP_DIR, or `/srv/x`; the part is named after the last segment. */
export function parseDirectory(raw: string): DirectoryAddress {
  const name = nameOf(raw);
  if (name === '') throw new Error(`${raw} gives no name for the part; write the directory's absolute path`);
  return { name, path: raw };
}

/** Where a directory is on this host. */
export function locate({ path }: DirectoryAddress, appDir: string): string {
  return isAbsolute(path) ? resolve(path) : resolve(appDir, path);
}
