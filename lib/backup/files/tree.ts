import { Failure } from '../../failure.ts';
import { type BytePath, fromText, shown, toBytes, toText } from './paths.ts';

interface Common {
  path: BytePath;
  mode: number;
  uid: number;
  gid: number;
  /** Microseconds since 1970. */
  mtime: number;
}

export interface FileEntry extends Common {
  type: 'file';
  size: number;
  sha256: string;
}

/** One entry of a directory, as a tree lists it. */
export type Entry =
  | FileEntry
  | (Common & { type: 'directory' })
  | (Common & { type: 'symlink'; target: BytePath });

/** One object of a bucket, as a tree lists it. */
export interface ObjectEntry {
  key: string;
  size: number;
  sha256: string;
  etag: string;
  modified: string;
  headers: Headers;
}

/** What is restored with an object, apart from its bytes. */
export interface Headers {
  ContentType?: string;
  CacheControl?: string;
  ContentDisposition?: string;
  ContentEncoding?: string;
  ContentLanguage?: string;
  Metadata?: Record<string, string>;
}

/** An entry as a line of the tree: JSON, in names that a person with `jq` can use. */
export function entryLine(entry: Entry): string {
  const { type, mode, uid, gid, mtime } = entry;
  return `${JSON.stringify({
    ...named('path', entry.path || '.'),
    type,
    mode: mode.toString(8).padStart(4, '0'),
    uid,
    gid,
    mtime: mtime / 1e6,
    ...(type === 'file' ? { size: entry.size, sha256: entry.sha256 } : {}),
    ...(type === 'symlink' ? named('target', entry.target) : {}),
  })}\n`;
}

export const objectLine = (entry: ObjectEntry): string => `${JSON.stringify(entry)}\n`;

function named(name: string, path: BytePath): Record<string, string> {
  const text = toText(path);
  return text === undefined ? { [`${name}_base64`]: toBytes(path).toString('base64') } : { [name]: text };
}

/**
 * The entries of a directory's tree.
 * @throws Failure for a path that leads out of the directory, by itself or through a symlink
 */
export function* parseEntries(tree: Buffer, part: string): Generator<Entry> {
  const directories = new Set<BytePath>();
  for (const line of linesOf(tree)) {
    const entry = parseEntry(line);
    if (!isInside(entry.path, directories)) {
      throw new Failure(`${part}: its list of files has a path that leads out of it: ${line.slice(0, 200)}`, {
        next: 'restore another backup; this list was not written by opsbook',
      });
    }
    if (entry.type === 'directory') directories.add(entry.path);
    yield entry;
  }
}

export function* parseObjects(tree: Buffer): Generator<ObjectEntry> {
  for (const line of linesOf(tree)) yield JSON.parse(line) as ObjectEntry;
}

/** A content, and the first path that has it. */
export interface Content {
  sha256: string;
  bytes: number;
  path: string;
}

/** Every content that a tree of either kind names, by its hash. */
export function contentsOfTree(tree: Buffer): Map<string, Content> {
  const contents = new Map<string, Content>();
  for (const line of linesOf(tree)) {
    const { sha256, size, path, path_base64: encoded, key } = JSON.parse(line);
    if (!sha256 || contents.has(sha256)) continue;
    const name = key ?? path ?? Buffer.from(encoded, 'base64').toString();
    contents.set(sha256, { sha256, bytes: size, path: shown(fromText(name)) });
  }
  return contents;
}

function* linesOf(tree: Buffer): Generator<string> {
  let start = 0;
  for (let end = tree.indexOf(10); end !== -1; end = tree.indexOf(10, start)) {
    yield tree.toString('utf8', start, end);
    start = end + 1;
  }
}

function parseEntry(line: string): Entry {
  const json = JSON.parse(line);
  const path = bytesOf(json, 'path');
  return {
    ...json,
    path: path === '.' ? '' : path,
    mode: Number.parseInt(json.mode, 8),
    mtime: Math.round(json.mtime * 1e6),
    ...(json.type === 'symlink' ? { target: bytesOf(json, 'target') } : {}),
  };
}

function bytesOf(json: Record<string, string>, name: string): BytePath {
  const encoded = json[`${name}_base64`];
  const bytes = encoded === undefined ? Buffer.from(json[name] ?? '') : Buffer.from(encoded, 'base64');
  return bytes.toString('latin1');
}

/** Its parent has to be a directory listed before it, never a symlink. */
function isInside(path: BytePath, directories: ReadonlySet<BytePath>): boolean {
  if (path === '') return directories.size === 0;
  const slash = path.lastIndexOf('/');
  const name = path.slice(slash + 1);
  if (slash === 0 || ['', '.', '..'].includes(name) || name.includes('\0')) return false;
  return directories.has(path.slice(0, Math.max(slash, 0)));
}
