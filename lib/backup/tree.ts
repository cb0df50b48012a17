import { z } from 'zod';
import { type BytePath, fromText, shown, toBytes, toText } from './addresses.ts';
import { clean, firstProblem, headers, natural, owner, quoted, sha256 } from './schema.ts';
import { Corrupted } from './store.ts';

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

export type Headers = z.infer<typeof headers>;

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

/** Who is asked about a tree: the part, and the backup that it is of. */
export interface TreeOf {
  kind: 'directory' | 'bucket';
  name: string;
  /** The backup's id, where it is known. */
  backup?: string | undefined;
}

const common = {
  path: z.string().optional(),
  path_base64: z.base64('is no base64').optional(),
  mode: z.string().regex(/^[0-7]{4}$/, 'is no mode of four octal digits'),
  uid: owner,
  gid: owner,
  /** As far as a file system can have it. */
  mtime: z.number('is no time').min(-1e13, 'is no time').max(1e13, 'is no time'),
};

const entryLines = z.discriminatedUnion(
  'type',
  [
    z.object({ ...common, type: z.literal('file'), size: natural, sha256 }),
    z.object({ ...common, type: z.literal('directory') }),
    z.object({
      ...common,
      type: z.literal('symlink'),
      target: z.string().optional(),
      target_base64: z.base64('is no base64').optional(),
    }),
  ],
  'is none of file, directory and symlink',
);

const objectLines = z.object({
  key: z.string().min(1, 'is empty').max(1024, 'is too long'),
  size: natural,
  sha256,
  etag: clean.or(z.literal('')),
  modified: z.iso.datetime('is no time'),
  headers,
});

/**
 * The entries of a directory's tree.
 * @throws Corrupted for a line that we would not have written: a path that leads out of the directory, by itself or
 * through a symlink, one that is there twice, another type, a value that is none
 */
export function* parseEntries(tree: Buffer, of: TreeOf): Generator<Entry> {
  const paths = new Set<BytePath>();
  const directories = new Set<BytePath>();
  for (const { json, refuse } of linesOf(tree, of)) {
    const entry = entryOf(json, refuse);
    const { path, type } = entry;
    if (!isInside(path, directories)) throw refuse(`path: leads out of it (it says ${quotedPath(path)})`);
    if (paths.has(path)) throw refuse(`path: is there twice (it says ${quotedPath(path)})`);
    paths.add(path);
    if (type === 'directory') directories.add(path);
    yield entry;
  }
}

function entryOf(json: unknown, refuse: Line['refuse']): Entry {
  const { success, data, error } = entryLines.safeParse(json);
  if (!success) throw refuse(firstProblem(error, json));
  const path = bytesOf(data.path, data.path_base64, 'path', refuse);
  const { uid, gid } = data;
  const entry = {
    ...{ uid, gid, path: path === '.' ? '' : path },
    ...{ mode: Number.parseInt(data.mode, 8), mtime: Math.round(data.mtime * 1e6) },
  };
  if (data.type === 'file') return { ...entry, type: data.type, size: data.size, sha256: data.sha256 };
  if (data.type === 'directory') return { ...entry, type: data.type };
  return { ...entry, type: data.type, target: bytesOf(data.target, data.target_base64, 'target', refuse) };
}

/** The objects of a bucket's tree. @throws Corrupted for a line that we would not have written */
export function* parseObjects(tree: Buffer, of: TreeOf): Generator<ObjectEntry> {
  const keys = new Set<string>();
  for (const { json, refuse } of linesOf(tree, of)) {
    const { success, data, error } = objectLines.safeParse(json);
    if (!success) throw refuse(firstProblem(error, json));
    if (keys.has(data.key)) throw refuse(`key: is there twice (it says ${quoted(data.key)})`);
    keys.add(data.key);
    yield data;
  }
}

/** A content, and the first path that has it. */
export interface Content {
  sha256: string;
  bytes: number;
  path: string;
}

/** Every content that a tree names, by its hash. */
export function contentsOfTree(tree: Buffer, of: TreeOf): Map<string, Content> {
  const contents = new Map<string, Content>();
  const add = (sha256: string, bytes: number, path: BytePath) => {
    if (!contents.has(sha256)) contents.set(sha256, { sha256, bytes, path: shown(path) });
  };
  if (of.kind === 'bucket')
    for (const { sha256, size, key } of parseObjects(tree, of)) add(sha256, size, fromText(key));
  else
    for (const entry of parseEntries(tree, of))
      if (entry.type === 'file') add(entry.sha256, entry.size, entry.path);
  return contents;
}

interface Line {
  json: unknown;
  refuse(problem: string): Corrupted;
}

function* linesOf(tree: Buffer, { name, backup }: TreeOf): Generator<Line> {
  const what = `${backup === undefined ? '' : `backup ${backup}: `}${name}: its list of files`;
  let number = 0;
  for (let start = 0; start < tree.length; ) {
    number += 1;
    const end = tree.indexOf(10, start);
    const at = number;
    const refuse = (problem: string) => new Corrupted(`${what}, line ${at}: ${problem}`);
    if (end === -1) throw refuse('is cut off');
    let json: unknown;
    try {
      json = JSON.parse(tree.toString('utf8', start, end));
    } catch {
      throw refuse('is not JSON');
    }
    yield { json, refuse };
    start = end + 1;
  }
}

/** A path or a target, in text or in base64: one of them, and what a file system can have. */
function bytesOf(
  text: string | undefined,
  base64: string | undefined,
  field: string,
  refuse: Line['refuse'],
): BytePath {
  if ((text === undefined) === (base64 === undefined)) throw refuse(`${field}: is not there once`);
  const bytes = (text === undefined ? Buffer.from(base64 ?? '', 'base64') : Buffer.from(text)).toString(
    'latin1',
  );
  if (bytes === '' || bytes.length > 4095 || bytes.includes('\0'))
    throw refuse(`${field}: is no path (it says ${quotedPath(bytes)})`);
  return bytes;
}

const quotedPath = (path: BytePath) => quoted(toBytes(path).toString('utf8'));

/** Its parent has to be a directory listed before it, never a symlink. */
function isInside(path: BytePath, directories: ReadonlySet<BytePath>): boolean {
  if (path === '') return directories.size === 0;
  const slash = path.lastIndexOf('/');
  const name = path.slice(slash + 1);
  if (slash === 0 || ['', '.', '..'].includes(name)) return false;
  return directories.has(path.slice(0, Math.max(slash, 0)));
}
