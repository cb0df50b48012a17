import { zstdDecompressSync } from 'node:zlib';
import { z } from 'zod';
import { folderIn, readKept, removeOthers } from '../state.ts';
import { type BytePath, fromText, shown, toBytes, toText } from './addresses.ts';
import { contentKey, measureOf } from './blobs.ts';
import type { Decrypter } from './encryption.ts';
import type { Attributes } from './file-system.ts';
import type { BucketPart, DirectoryPart } from './manifest.ts';
import { clean, firstProblem, headers, natural, owner, quoted, sha256 } from './schema.ts';
import { Corrupted, type Store } from './store.ts';
import { fetchWhole } from './transfer.ts';

/** Parts whose files are contents, listed by a tree. */
export type FilesPart = DirectoryPart | BucketPart;

export interface Reader {
  store: Store;
  decrypter: Decrypter;
  /** Where copies of the trees are that this host wrote; without it the store is read. */
  stateDir?: string | undefined;
}

/** What the keys of a part's contents end with: what its tree's ends with. */
export function suffixOfPart({ tree }: FilesPart): string {
  return tree.key.slice(contentKey(tree.sha256, '').length);
}

/**
 * The tree of a part, whole and checked against its hash.
 * @throws Failure when it is neither here nor may be read from the store; Damaged when it is missing or another there
 */
export async function readTree(part: FilesPart, { store, decrypter, stateDir }: Reader): Promise<Buffer> {
  const { key, sha256, bytes } = part.tree;
  const copy = stateDir === undefined ? undefined : copiedTree(stateDir, sha256);
  if (copy) return copy;
  const label = `${part.name}: its list of files`;
  return fetchWhole({ store, decrypter }, { key, measure: { sha256, bytes }, label });
}

/** Where the copy of a tree is that this host wrote. */
export const copyOf = (stateDir: string, sha256: string): string =>
  `${folderIn(stateDir, 'trees')}/${sha256}.jsonl.zst`;

/** The copy of a tree that this host wrote, or nothing. */
export function copiedTree(stateDir: string, sha256: string): Buffer | undefined {
  try {
    const tree = zstdDecompressSync(readKept(copyOf(stateDir, sha256)) ?? '');
    return measureOf(tree).sha256 === sha256 ? tree : undefined;
  } catch {
    return undefined;
  }
}

/** Removes the copies of trees that `used` does not name. */
export function forgetTrees(stateDir: string, used: ReadonlySet<string>): void {
  removeOthers(`${stateDir}/trees`, (name) => used.has(name.slice(0, 64)));
}

/** The key of every content that a part references, its tree's among them. */
export async function contentOf(part: FilesPart, reader: Reader): Promise<Set<string>> {
  const suffix = suffixOfPart(part);
  const hashes = contentsOfTree(await readTree(part, reader), part).keys();
  return new Set([part.tree.key, ...hashes.map((sha256) => contentKey(sha256, suffix))]);
}

type Common = Attributes & { path: BytePath };

export type FileEntry = Common & { type: 'file'; size: number; sha256: string };

/** One entry of a directory, as a tree lists it. */
export type Entry =
  | FileEntry
  | (Common & { type: 'directory' })
  | (Common & { type: 'symlink'; target: BytePath });

/** One object of a bucket, as a tree lists it. */
export type ObjectEntry = z.infer<typeof objectLines>;

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
  path_base64: z.base64('is not base64').optional(),
  mode: z.string().regex(/^[0-7]{4}$/, 'is not a mode of four octal digits'),
  uid: owner,
  gid: owner,
  /** As far as a file system can have it. */
  mtime: z.number('is not a time').min(-1e13, 'is not a time').max(1e13, 'is not a time'),
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
      target_base64: z.base64('is not base64').optional(),
    }),
  ],
  'is not one of file, directory and symlink',
);

const objectLines = z.object({
  key: z.string().min(1, 'is empty').max(1024, 'is too long'),
  size: natural,
  sha256,
  etag: clean.or(z.literal('')),
  modified: z.iso.datetime('is not a time'),
  headers,
});

/**
 * The entries of a directory's tree.
 * @throws Corrupted for a line that we would not have written: a path that leads out of the directory, by itself or
 * through a symlink, one that is listed twice, another type, or a value out of range
 */
export function* parseEntries(tree: Buffer, of: TreeOf): Generator<Entry> {
  const paths = new Set<BytePath>();
  const directories = new Set<BytePath>();
  for (const { data, refuse } of linesOf(tree, of, entryLines)) {
    const entry = entryOf(data, refuse);
    const { path, type } = entry;
    if (!isInside(path, directories)) throw refuse(`path: leads out of it (it says ${quotedPath(path)})`);
    if (paths.has(path)) throw refuse(`path: is listed twice (it says ${quotedPath(path)})`);
    paths.add(path);
    if (type === 'directory') directories.add(path);
    yield entry;
  }
}

function entryOf(data: z.infer<typeof entryLines>, refuse: Refuse): Entry {
  const path = bytesOf(data.path, data.path_base64, 'path', refuse);
  const { uid, gid } = data;
  const [mode, mtime] = [Number.parseInt(data.mode, 8), Math.round(data.mtime * 1e6)];
  const entry = { path: path === '.' ? '' : path, mode, uid, gid, mtime };
  if (data.type === 'file') return { ...entry, type: data.type, size: data.size, sha256: data.sha256 };
  if (data.type === 'directory') return { ...entry, type: data.type };
  return { ...entry, type: data.type, target: bytesOf(data.target, data.target_base64, 'target', refuse) };
}

/** The objects of a bucket's tree. @throws Corrupted for a line that we would not have written */
export function* parseObjects(tree: Buffer, of: TreeOf): Generator<ObjectEntry> {
  const keys = new Set<string>();
  for (const { data, refuse } of linesOf(tree, of, objectLines)) {
    if (keys.has(data.key)) throw refuse(`key: is listed twice (it says ${quoted(data.key)})`);
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

type Refuse = (problem: string) => Corrupted;

function* linesOf<T>(
  tree: Buffer,
  { name, backup }: TreeOf,
  schema: z.ZodType<T>,
): Generator<{ data: T; refuse: Refuse }> {
  const what = `${backup === undefined ? '' : `backup ${backup}: `}${name}: its list of files`;
  for (let start = 0, line = 1; start < tree.length; line += 1) {
    const end = tree.indexOf(10, start);
    const refuse = (problem: string) => new Corrupted(`${what}, line ${line}: ${problem}`);
    if (end === -1) throw refuse('is cut off');
    let json: unknown;
    try {
      json = JSON.parse(tree.toString('utf8', start, end));
    } catch {
      throw refuse('is not JSON');
    }
    const { success, data, error } = schema.safeParse(json);
    if (!success) throw refuse(firstProblem(error, json));
    yield { data, refuse };
    start = end + 1;
  }
}

/** A path or a target, in text or in base64: one of them, and what a file system can have. */
function bytesOf(
  text: string | undefined,
  base64: string | undefined,
  field: string,
  refuse: Refuse,
): BytePath {
  if ((text === undefined) === (base64 === undefined)) throw refuse(`${field}: is missing or given twice`);
  const bytes = (text === undefined ? Buffer.from(base64 ?? '', 'base64') : Buffer.from(text)).toString(
    'latin1',
  );
  if (bytes === '' || bytes.length > 4095 || bytes.includes('\0'))
    throw refuse(`${field}: is not a path (it says ${quotedPath(bytes)})`);
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
