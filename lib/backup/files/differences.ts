import type { Stats } from 'node:fs';
import { type BytePath, below, fromText, shown } from './paths.ts';
import type { Entry } from './tree.ts';
import { microseconds, readLink, walk } from './walk.ts';

/** So many differences are told one by one. */
const TOLD = 20;

/** How `directory` differs from what a tree lists: names, types, sizes, modes, times, and owners where root made it. */
export async function differences(
  directory: string,
  entries: readonly Entry[],
  signal: AbortSignal,
): Promise<string[]> {
  const root = fromText(directory);
  const wanted = new Map<BytePath, Entry>(entries.map((entry) => [entry.path, entry]));
  const found: string[] = [];
  await walk(root, { signal }, (path, stats) => {
    const entry = wanted.get(path);
    wanted.delete(path);
    const unlike = entry ? unlikeIn(entry, stats, below(root, path)) : ['is not in the backup'];
    if (unlike.length > 0) found.push(`${shown(path || '.')}: ${unlike.join(', ')}`);
  });
  for (const path of wanted.keys()) found.push(`${shown(path || '.')}: is missing`);
  const more = found.length - TOLD;
  return more > 0 ? [...found.slice(0, TOLD), `and ${more} more`] : found;
}

function unlikeIn(entry: Entry, stats: Stats, full: BytePath): string[] {
  const type = typeOf(stats);
  if (type !== entry.type) return [`is a ${type}, not a ${entry.type}`];
  const attributes: Array<[string, unknown, unknown]> = [['mtime', microseconds(stats), entry.mtime]];
  if (entry.type !== 'symlink') attributes.push(['mode', octal(stats.mode & 0o7777), octal(entry.mode)]);
  if (entry.type === 'file') attributes.push(['size', stats.size, entry.size]);
  if (entry.type === 'symlink') attributes.push(['target', shown(readLink(full)), shown(entry.target)]);
  if (process.getuid?.() === 0)
    attributes.push(['owner', stats.uid, entry.uid], ['group', stats.gid, entry.gid]);
  return attributes.flatMap(([name, is, was]) => (is === was ? [] : [`${name} is ${is}, was ${was}`]));
}

function typeOf(stats: Stats): string {
  if (stats.isFile()) return 'file';
  if (stats.isDirectory()) return 'directory';
  return stats.isSymbolicLink() ? 'symlink' : 'special file';
}

const octal = (mode: number) => mode.toString(8).padStart(4, '0');
