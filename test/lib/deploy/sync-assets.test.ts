import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  isImmutable,
  plainName,
  planSync,
  refuseManyLost,
  stageOf,
} from '../../../scripts/deploy/sync-assets.ts';

const hashed = [
  'assets/index-BTkO3vlH.js',
  'assets/index-B-k_3vlH.css',
  'main.3f2a1b9c.js',
  'main.3f2a1b9c.css.map',
  'app-7GKQ2XYZ.js',
  '_next/static/chunks/123-0a1b2c3d4e5f6071.js',
  '_next/static/media/3f2a1b9c0d4e5f60.woff2',
  'logo.0123456789abcdef0123.svg',
];
const plain = [
  'index.html',
  'main-3f2a1b9c.html',
  'user-settings.js',
  'report-20260131.pdf',
  'icon-12345678.png',
  'es-Version12.js',
  'chapter-version1.js',
  'my-Dashboard.js',
  'jquery-3.7.1.min.js',
  'favicon.ico',
  'version.txt',
  'archive-2026-01-31.zip',
  '.well-known/security.txt',
];

for (const path of hashed) test(`${path} is taken for hashed`, () => assert.ok(isImmutable(path, [])));
for (const path of plain) test(`${path} is not taken for hashed`, () => assert.ok(!isImmutable(path, [])));

test('in a directory that is said to be immutable everything is, but HTML', () => {
  assert.ok(isImmutable('assets/plain.js', ['assets']));
  assert.ok(!isImmutable('assets/page.html', ['assets']));
  assert.ok(!isImmutable('assets2/plain.js', ['assets']));
});

test('two builds of a file have the name without its hash in common', () => {
  assert.equal(plainName('assets/index-BTkO3vlH.js'), 'assets/index-*.js');
  assert.equal(plainName('assets/index-B-k_3vlH.css'), plainName('assets/index-Zx81abcD.css'));
  assert.equal(plainName('favicon.ico'), 'favicon.ico');
});

test('files go first, then pages, then the file that tells the version', () => {
  assert.deepEqual(['a.js', 'a/b.html', 'version.txt', 'docs/version.txt'].map(stageOf), [
    ...['files', 'pages', 'version', 'files'],
  ]);
});

const asset = (path: string, md5 = 'a', bytes = 1) => ({
  ...{ path, file: path, bytes, md5, contentType: 'x/y', cacheControl: 'no-cache', stage: 'files' as const },
});

test('what has the same bytes stays, another goes up, what is not here goes', () => {
  const remote = [
    { path: 'same', bytes: 1, etag: 'a' },
    { path: 'other', bytes: 1, etag: 'b' },
    { path: 'gone', bytes: 1, etag: 'a' },
  ];
  const plan = planSync([asset('same'), asset('other'), asset('new')], remote);
  assert.deepEqual(
    plan.same.map(({ path }) => path),
    ['same'],
  );
  assert.deepEqual(
    plan.upload.map(({ path }) => path),
    ['other', 'new'],
  );
  assert.deepEqual([plan.remove, plan.lost, plan.before], [['gone'], ['gone'], 3]);
});

test('a new build that replaces every hashed name loses nothing; one that has half of them gone does', () => {
  const remote = ['a-BTkO3vlH.js', 'b-BTkO3vlH.js', 'c-BTkO3vlH.js', 'index.html'].map((path) => ({
    path,
    bytes: 1,
    etag: 'x',
  }));
  const next = planSync(
    ['a-Zx81abcD.js', 'b-Zx81abcD.js', 'c-Zx81abcD.js', 'index.html'].map((path) => asset(path)),
    remote,
  );
  assert.equal(next.remove.length, 3);
  refuseManyLost(next, 'dist', 's3://web/');
  const wrong = planSync([asset('index.html')], remote);
  assert.throws(
    () => refuseManyLost(wrong, 'dist', 's3://web/'),
    /3 of 4 objects in s3:\/\/web\/ are not in dist: a-BTkO3vlH.js/,
  );
});
