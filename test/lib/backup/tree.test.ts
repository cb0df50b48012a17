/* A3: what a store, or the app's directory, says is data: what we would not have written is refused by its name. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync, renameSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { parseBucket } from '../../../lib/backup/addresses.ts';
import { measureOf } from '../../../lib/backup/blobs.ts';
import { type BucketAccess, siblingName } from '../../../lib/backup/bucket.ts';
import type { BucketPart } from '../../../lib/backup/manifest.ts';
import { bucketCopier, undoBucket } from '../../../lib/backup/restore-bucket.ts';
import { checkContent } from '../../../lib/backup/verify.ts';
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

const lines: Array<[string, unknown, RegExp]> = [
  ['a device', { ...file, type: 'device' }, /line 2: type: .*\(it says "device"\)/],
  ['a type that objects inherit', { ...file, type: 'constructor' }, /line 2: type: .*"constructor"/],
  ['a hash that is a path', { ...file, sha256: '../../../etc/passwd' }, /line 2: sha256: is no SHA-256/],
  ['a mode of five digits', { ...file, mode: '10644' }, /line 2: mode: .*\(it says "10644"\)/],
  ['an owner that chown takes for none', { ...file, uid: 2 ** 32 - 1 }, /line 2: uid: is no user or group/],
  ['a negative group', { ...file, gid: -1 }, /line 2: gid: /],
  ['a size that is none', { ...file, size: -1 }, /line 2: size: /],
  ['a time that is none', { ...file, mtime: 1e300 }, /line 2: mtime: is no time/],
  [
    'a path that ends in a zero byte',
    { ...file, path: 'f\0' },
    /line 2: path: is no path \(it says "f\\u0000"\)/,
  ],
  ['no path', { ...file, path: undefined }, /line 2: path: is not there once/],
  ['two paths', { ...file, path_base64: 'Zg==' }, /line 2: path: is not there once/],
  [
    'base64 that is none',
    { ...file, path: undefined, path_base64: '!' },
    /line 2: path_base64: is no base64/,
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
    [twice, /line 3: path: is there twice/],
    [twice.slice(0, -1), /line 3: is cut off|line 3: path: is there twice/],
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
  ['a hash that is none', { ...object, sha256: 'x' }, /line 1: sha256: is no SHA-256/],
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

test('A3: a pipe, a link or a directory in a file store is refused, and not waited for', {
  timeout: 60_000,
}, async () => {
  const w = world();
  write(w.uploads, { a: 'one' });
  const part = await backUp(w);
  const { sha256: name } = measureOf(Buffer.from('one'));
  const path = join(w.stored, 'content', name.slice(0, 2), name);
  const aside = join(w.stored, 'aside');
  renameSync(path, aside);
  const ways: Array<() => void> = [
    () => execFileSync('mkfifo', [path]),
    () => symlinkSync(aside, path),
    () => execFileSync('mkdir', [path]),
  ];
  for (const make of ways) {
    make();
    await assert.rejects(restoreBeside(w, part), /is no file, and no object|is a link, and no object/);
    const listed: string[] = [];
    for await (const { key } of w.store.list('content/')) listed.push(key);
    assert.ok(!listed.some((key) => key.endsWith(name)), 'and it is no object for those who list');
    const [problem] = await checkContent(part, await recoveryIn(w), w.step);
    assert.match(problem ?? '', /^uploads: a: .*is (no file|a link), and no object/);
    rmSync(path, { recursive: true });
  }
});

test('A3: root does not write through a link that somebody planted in a file store', async () => {
  const w = world();
  const victim = join(w.app, 'victim');
  writeFileSync(victim, 'precious');
  write(w.stored, { 'backups/x/other': '' });
  symlinkSync(victim, join(w.stored, 'backups/x/manifest.json.partial'));
  await assert.rejects(w.store.put('backups/x/manifest.json', Buffer.from('{}')), /is a link/);
  assert.equal(readFileSync(victim, 'utf8'), 'precious');
});

test('A13: what root writes into a file store belongs to the owner of the store', (t) => {
  if (process.getuid?.() !== 0) return t.skip('only root can give files away');
  const w = world();
  execFileSync('mkdir', [w.stored]);
  execFileSync('chown', ['1234:1235', w.stored]);
  return w.store.put('content/ab/x', Buffer.from('x')).then(() => {
    const { stdout } = spawnSync('find', [w.stored, '-printf', '%u:%g\n'], { encoding: 'utf8' });
    assert.equal(stdout, '1234:1235\n'.repeat(4));
  });
});

const ID = '20260101-000000';
const journal = {
  part: 'images',
  id: ID,
  before: `images-before-${ID}`,
  overwritten: [],
  added: [],
  phase: 'done',
};
const journals: Array<[string, unknown, RegExp]> = [
  [
    'the bucket of another app',
    { ...journal, before: 'customers' },
    /names "customers", which is none of its buckets/,
  ],
  ['a bucket of another name like ours', { ...journal, before: `other-before-${ID}` }, /none of its buckets/],
  ['another part', { ...journal, part: 'other' }, /part: is not images/],
  ['a phase that is none', { ...journal, phase: 'constructor' }, /phase: /],
  ['an id that is none', { ...journal, id: '../x' }, /id: is no id/],
  ['keys that are none', { ...journal, added: 'all' }, /added: /],
];
for (const [kind, forged, message] of journals) {
  test(`A3: a journal of a bucket's restore that names ${kind} is refused, and nothing is removed`, async () => {
    const w = world();
    const server = new MemoryServer();
    for (const bucket of ['images', 'customers', `other-before-${ID}`]) server.set(bucket, 'a', 'precious');
    writeFileSync(join(w.state, 'restored-bucket-images.json'), JSON.stringify(forged));
    const open = async () => server.bucket('images');
    await assert.rejects(undoBucket(address, access, w.state, open), message);
    for (const bucket of ['images', 'customers', `other-before-${ID}`])
      assert.deepEqual(server.texts(bucket), { a: 'precious' });
  });
}

test('A3: the second bucket of one restore, and one whose name was cut, are ours', async () => {
  for (const name of ['images', 'a'.repeat(60)]) {
    const w = world();
    const server = new MemoryServer();
    const before = siblingName(name, `-before-${ID}-2`);
    for (const bucket of [name, before]) server.set(bucket, 'a', bucket);
    writeFileSync(
      join(w.state, `restored-bucket-${name}.json`),
      JSON.stringify({ ...journal, part: name, before, overwritten: ['a'] }),
    );
    await undoBucket(parseBucket(name), access, w.state, async () => server.bucket(name));
    assert.deepEqual(server.texts(name), { a: before });
  }
});
