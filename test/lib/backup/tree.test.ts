/* A3: what a store says is a tree: what we would not have written is refused. */
import assert from 'node:assert/strict';
import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { parseBucket } from '../../../lib/backup/addresses.ts';
import { measureOf } from '../../../lib/backup/blobs.ts';
import type { BucketAccess } from '../../../lib/backup/bucket.ts';
import { decrypter } from '../../../lib/backup/encryption.ts';
import type { BucketPart, DirectoryPart } from '../../../lib/backup/manifest.ts';
import { bucketCopier } from '../../../lib/backup/restore-bucket.ts';
import { contentOf, forgetTrees, readTree } from '../../../lib/backup/tree.ts';
import { backUp, recoveryIn, restoreBeside, type World, world, write } from './kit.ts';
import { MemoryServer } from './memory-bucket.ts';

const sha256 = measureOf(Buffer.from('x')).sha256;
const file = { path: 'f', type: 'file', mode: '0644', uid: 0, gid: 0, mtime: 1, size: 1, sha256 };
const root = { path: '.', type: 'directory', mode: '0755', uid: 0, gid: 0, mtime: 1 };

/** A tree of these lines, where the store has it, with the content that `file` names. */
async function treeIn(w: World, text: string) {
  const tree = Buffer.from(text);
  const { sha256: name, bytes } = measureOf(tree);
  const key = `content/${name.slice(0, 2)}/${name}`;
  await w.store.put(key, tree);
  await w.store.put(`content/${sha256.slice(0, 2)}/${sha256}`, Buffer.from('x'));
  return { key, bytes, sha256: name };
}

const directoryPart = { kind: 'directory' as const, name: 'uploads', source: '/x', files: 1, directories: 0 };
const counts = { symlinks: 0, bytesIn: 1, bytesOut: 1 };

async function backedUp(): Promise<{ w: World; part: DirectoryPart }> {
  const w = world();
  write(w.uploads, { 'sub/photo': 'a photo', other: 'another' });
  return { w, part: await backUp(w) };
}

test('what a backup references is known without reading the store, and forgotten with it', async () => {
  const { w, part } = await backedUp();
  const refusing = { ...w.store, get: () => Promise.reject(new Error('refused')) };
  const reader = { store: refusing, decrypter: await decrypter(undefined), stateDir: w.state };
  const keys = await contentOf(part, reader);
  assert.equal(keys.size, 3);
  for (const key of keys) assert.ok(existsSync(join(w.stored, key)), key);
  forgetTrees(w.state, new Set([part.tree.sha256]));
  assert.equal((await contentOf(part, reader)).size, 3);
  forgetTrees(w.state, new Set());
  await assert.rejects(contentOf(part, reader), /refused/);
  assert.deepEqual(await contentOf(part, { ...reader, store: w.store }), keys);
});

test('a tree can be read from the copy here or from the store', async () => {
  const { w, part } = await backedUp();
  const reader = { store: w.store, decrypter: await decrypter(undefined) };
  const fromStore = await readTree(part, reader);
  const fromCopy = await readTree(part, { ...reader, stateDir: w.state });
  assert.ok(fromStore.equals(fromCopy));
});

const escapes: Array<[string, Array<Record<string, unknown>>]> = [
  ['..', [{ path: '../evil', type: 'file' }]],
  [
    '.. inside',
    [
      { path: 'a', type: 'directory' },
      { path: 'a/../../evil', type: 'file' },
    ],
  ],
  [
    '.. as a directory',
    [
      { path: 'a', type: 'directory' },
      { path: 'a/..', type: 'directory' },
    ],
  ],
  ['a path that begins with a slash', [{ path: '/evil', type: 'file' }]],
  ['an absolute path', [{ path: '/etc/evil', type: 'file' }]],
  [
    'a symlink as a parent',
    [
      { path: 'a', type: 'symlink', target: '/etc' },
      { path: 'a/evil', type: 'file' },
    ],
  ],
  ['encoded ..', [{ path_base64: Buffer.from('../evil').toString('base64'), type: 'file' }]],
];
for (const [kind, entries] of escapes) {
  test(`a list of files that leads out of the directory is refused: ${kind}`, async () => {
    const { w, part } = await backedUp();
    const all = [{ path: '.', type: 'directory' }, ...entries];
    const common = {
      mode: '0755',
      uid: 0,
      gid: 0,
      mtime: 0,
      size: 0,
      sha256: measureOf(Buffer.from('another')).sha256,
    };
    const tree = Buffer.from(all.map((entry) => `${JSON.stringify({ ...common, ...entry })}\n`).join(''));
    const { sha256, bytes } = measureOf(tree);
    const key = `content/${sha256.slice(0, 2)}/${sha256}`;
    await w.store.put(key, tree);
    await assert.rejects(restoreBeside(w, { ...part, tree: { key, bytes, sha256 } }), /leads out of it/);
  });
}

const lines: Array<[string, unknown, RegExp]> = [
  ['a device', { ...file, type: 'device' }, /line 2: type: .*\(it says "device"\)/],
  ['a type that objects inherit', { ...file, type: 'constructor' }, /line 2: type: .*"constructor"/],
  ['a hash that is a path', { ...file, sha256: '../../../etc/passwd' }, /line 2: sha256: is not a SHA-256/],
  ['a mode of five digits', { ...file, mode: '10644' }, /line 2: mode: .*\(it says "10644"\)/],
  [
    'an owner that chown takes for none',
    { ...file, uid: 2 ** 32 - 1 },
    /line 2: uid: is not a user or group/,
  ],
  ['a negative group', { ...file, gid: -1 }, /line 2: gid: /],
  ['a size that is none', { ...file, size: -1 }, /line 2: size: /],
  ['a time that is none', { ...file, mtime: 1e300 }, /line 2: mtime: is not a time/],
  [
    'a path that ends in a zero byte',
    { ...file, path: 'f\0' },
    /line 2: path: is not a path \(it says "f\\u0000"\)/,
  ],
  ['no path', { ...file, path: undefined }, /line 2: path: is missing or given twice/],
  ['two paths', { ...file, path_base64: 'Zg==' }, /line 2: path: is missing or given twice/],
  [
    'base64 that is none',
    { ...file, path: undefined, path_base64: '!' },
    /line 2: path_base64: is not base64/,
  ],
  ['escape codes in a path', { ...file, path: '\u001b[2J/x' }, /"\\u001b\[2J\/x"/],
  ['a list', [file], /line 2: /],
];
for (const [kind, line, message] of lines) {
  test(`A3: a line of a directory's list that has ${kind} is refused`, async () => {
    const w = world();
    write(w.uploads, { a: '1' });
    const tree = await treeIn(w, `${JSON.stringify(root)}\n${JSON.stringify(line)}\n`);
    await assert.rejects(restoreBeside(w, { ...directoryPart, ...counts, tree }), (error: Error) => {
      assert.match(error.message, /^backup \d{8}-\d{6}: uploads: its list of files, line 2: /);
      assert.match(error.message, message);
      assert.doesNotMatch(error.message, /[\0-\x1f]/);
      return true;
    });
  });
}

test('A3: a path that is listed twice is refused, and so is a last line that is cut off', async () => {
  const w = world();
  const twice = [root, file, file].map((line) => `${JSON.stringify(line)}\n`).join('');
  for (const [text, message] of [
    [twice, /line 3: path: is listed twice/],
    [twice.slice(0, -1), /line 3: is cut off|line 3: path: is listed twice/],
    [`${JSON.stringify(root)}\n${JSON.stringify(file)}`, /line 2: is cut off/],
    [`${JSON.stringify(root)}\n{`, /line 2: is cut off/],
    [`${JSON.stringify(root)}\n{\n`, /line 2: is not JSON/],
  ] as const)
    await assert.rejects(
      restoreBeside(w, { ...directoryPart, ...counts, tree: await treeIn(w, text) }),
      message,
    );
});

test('A3: setuid and setgid bits of files come back only where they are allowed, and are told', async () => {
  const w = world();
  const setuid = [root, { ...file, mode: '6755' }].map((line) => `${JSON.stringify(line)}\n`).join('');
  const part = { ...directoryPart, ...counts, tree: await treeIn(w, setuid) };
  const restored = await restoreBeside(w, part);
  assert.equal(statSync(join(restored.place, 'f')).mode & 0o7777, 0o755);
  assert.match(w.report.warnings[0] ?? '', /^uploads: .*without the setuid and setgid bits .*: f$/);
  await restored.discard();
  const allowed = await restoreBeside(w, part, { allowSetuid: true });
  assert.equal(statSync(join(allowed.place, 'f')).mode & 0o7777, 0o6755);
});

const object = { key: 'photo', size: 1, sha256, etag: 'e', modified: '2026-01-01T00:00:00Z', headers: {} };
const objects: Array<[string, unknown, RegExp]> = [
  [
    'a header that names another bucket',
    { ...object, headers: { Bucket: 'other' } },
    /line 1: headers\/Bucket: /,
  ],
  ['a header that names another object', { ...object, headers: { Key: 'x' } }, /headers\/Key: .*"x"/],
  ['a header that is the body', { ...object, headers: { Body: 'unverified' } }, /headers\/Body: /],
  ['a header that opens it to all', { ...object, headers: { ACL: 'public-read' } }, /headers\/ACL: /],
  ['a header that is a list', { ...object, headers: { ContentType: ['a'] } }, /headers\/ContentType: /],
  [
    'a header of two lines',
    { ...object, headers: { ContentType: 'a\r\nX: y' } },
    /ContentType: has line breaks/,
  ],
  [
    'metadata with an odd name',
    { ...object, headers: { Metadata: { 'a: b\r\n': 'c' } } },
    /headers\/Metadata/,
  ],
  ['no headers', { ...object, headers: undefined }, /line 1: headers: /],
  ['an empty key', { ...object, key: '' }, /line 1: key: is empty/],
  ['a hash that is none', { ...object, sha256: 'x' }, /line 1: sha256: is not a SHA-256/],
];
const address = parseBucket('images?endpoint=http://minio:9000');
const access = { signal: new AbortController().signal } as BucketAccess;
for (const [kind, line, message] of objects) {
  test(`A3: a line of a bucket's list that has ${kind} is refused`, async () => {
    const w = world();
    const server = new MemoryServer();
    const tree = await treeIn(w, `${JSON.stringify(line)}\n`);
    const part: BucketPart = { ...directoryPart, ...counts, kind: 'bucket', name: 'images', tree };
    const open = async () => server.bucket('images');
    const copier = bucketCopier(part, 'images-2', address, access, await recoveryIn(w), open);
    await assert.rejects(copier.restoreBeside(w.step), message);
    assert.equal(server.texts('images-2'), undefined);
  });
}
