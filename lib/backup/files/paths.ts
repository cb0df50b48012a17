import { basename } from 'node:path';

/**
 * A file's path below the directory, with one character per byte (latin1): file names are bytes, and UTF-8 cannot
 * hold them all. The directory itself is the empty path.
 */
export type BytePath = string;

/** What file system calls are given. */
export const toBytes = (path: BytePath): Buffer => Buffer.from(path, 'latin1');

/** A path of the settings, which is text, as bytes. */
export const fromText = (path: string): BytePath => Buffer.from(path, 'utf8').toString('latin1');

/** `root/path`, both as bytes. */
export const below = (root: BytePath, path: BytePath): BytePath => (path === '' ? root : `${root}/${path}`);

/** The path as UTF-8 text, or nothing where it is none. */
export function toText(path: BytePath): string | undefined {
  if (!/[\x80-\xff]/.test(path)) return path;
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(toBytes(path));
  } catch {
    return undefined;
  }
}

/** The path for a message: on one line, whatever its bytes are. */
export function shown(path: BytePath): string {
  const text = toText(path) ?? toBytes(path).toString('utf8');
  return /^[^\x00-\x1f\x7f'"\\]+$/.test(text) ? text : JSON.stringify(text);
}

/** Up to five of `paths`, and how many more there are. */
export function some(paths: readonly string[]): string {
  const more = paths.length - 5;
  return paths.slice(0, 5).join(', ') + (more > 0 ? ` and ${more} more` : '');
}

/** Names at the top of a directory that are not its data: what a restore keeps there, and what mkfs made. */
export const isForeign = (name: BytePath): boolean => /^(\.opsbook(-.*)?|lost\+found)$/.test(name);

/** The last segment of a path as a part's name: fit for a key. */
export function nameOf(path: string): string {
  return basename(path)
    .replace(/[^A-Za-z0-9._-]+/g, '-')
    .replace(/^[.-]+|[.-]+$/g, '');
}
