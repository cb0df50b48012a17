import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import {
  parseBucket,
  parseCompose,
  parseDirect,
  parseDirectory,
  parseSqlite,
} from '../../../lib/backup/addresses.ts';
import { bucketAccess, select, sourcesOf } from '../../../lib/backup/parts.ts';
import { EXIT, type Failure, Problems, sentence } from '../../../lib/failure.ts';
import { localHost } from '../../../lib/hosts.ts';
import { Secret } from '../../../lib/secret.ts';

const where = { host: localHost(), signal: new AbortController().signal } as Parameters<
  typeof bucketAccess
>[1];
const access = (keys: Record<string, unknown>) =>
  bucketAccess({ APP_DIR: '/opt/app', ...keys } as Parameters<typeof bucketAccess>[0], where);

test('the keys of buckets go together', () => {
  const message = /BUCKET_ACCESS_KEY_ID and BUCKET_SECRET_ACCESS_KEY go together/;
  assert.throws(() => access({ BUCKET_ACCESS_KEY_ID: 'images' }), message);
  assert.throws(() => access({ BUCKET_SECRET_ACCESS_KEY: new Secret('hidden') }), message);
  const both = access({ BUCKET_ACCESS_KEY_ID: 'images', BUCKET_SECRET_ACCESS_KEY: new Secret('hidden') });
  assert.equal(both.credentials?.accessKeyId, 'images');
  assert.equal(access({}).credentials, undefined);
});

const sources = async (settings: Record<string, string>) => {
  const all = await sourcesOf(
    {
      APP_DIR: APP,
      BACKUP_DATABASES: settings['databases']?.split(',').map(parseAny),
      BACKUP_DIRECTORIES: settings['directories']?.split(',').map(parseDirectory),
      BACKUP_BUCKETS: settings['buckets']?.split(',').map(parseBucket),
    } as unknown as Parameters<typeof sourcesOf>[0],
    where,
  );
  return all.map(({ kind, name }) => `${kind} ${name}`);
};
const parseAny = (raw: string) =>
  raw.startsWith('sqlite')
    ? parseSqlite(raw)
    : raw.startsWith('compose')
      ? parseCompose(raw)
      : parseDirect(raw);
const APP = mkdtempSync(join(tmpdir(), 'opsbook-sources-'));
after(() => rmSync(APP, { recursive: true }));

const same: Array<[Record<string, string>, RegExp, RegExp]> = [
  [
    { databases: 'compose://users-db/app,compose://orders-db/app' },
    /^BACKUP_DATABASES: the parts of compose:\/\/users-db\/app and compose:\/\/orders-db\/app would both be called app$/,
    /write compose:\/\/orders-db\/app\?name=orders-db-app$/,
  ],
  [
    { databases: 'compose://users-db/app?user=me,postgres://me:hidden@db.example.org/app' },
    /both be called app$/,
    /postgres:\/\/me@db.example.org\/app\?name=db.example.org-app$/,
  ],
  [{ databases: 'sqlite:///s1/app.db,sqlite:///s2/app.db' }, /both be called app$/, /\?name=s2-app$/],
  [{ databases: 'sqlite:///s1/a b.db,sqlite:///s1/a_b.sqlite' }, /both be called a_b$/, /\?name=s1-a_b$/],
  [{ directories: 'a/uploads,b/uploads' }, /both be called uploads$/, /write b\/uploads\?name=b-uploads$/],
  [{ directories: 'a b,a-b' }, /both be called a-b$/, /write a-b\?name=/],
  [{ directories: 'uploads,./uploads/' }, /both be called uploads|names/, /\?name=/],
  [{ directories: 'uploads,uploads' }, /^BACKUP_DIRECTORIES names uploads twice$/, /name it once/],
  [{ directories: 'data,data/sub' }, /^BACKUP_DIRECTORIES: data\/sub is in data: /, /name data alone/],
  [{ directories: 'data/../data/sub?name=x,data' }, /is in data: /, /name data alone/],
  [{ directories: 'real/sub,link' }, /^BACKUP_DIRECTORIES: real\/sub is in link: /, /name link alone/],
  [
    { buckets: 'images?endpoint=http://a:9000,images?endpoint=http://b:9000' },
    /both be called images$/,
    /write images\?endpoint=http:\/\/b:9000&name=b-9000-images$/,
  ],
];
mkdirSync(join(APP, 'real/sub'), { recursive: true });
symlinkSync('real', join(APP, 'link'));
for (const [settings, message, next] of same) {
  test(`F1: parts that cannot be told apart are refused: ${Object.values(settings)}`, async () => {
    await assert.rejects(sources(settings), (error: Failure) => {
      const [first] = error instanceof Problems ? error.problems : [error];
      assert.equal(first?.exit, EXIT.usage);
      assert.match(first?.message ?? '', message);
      assert.match(first?.next ?? '', next);
      assert.doesNotMatch(sentence(error), /hidden/);
      return true;
    });
  });
}

test('F1: what is suggested is taken, and the first keeps its name; kinds have names of their own', async () => {
  assert.deepEqual(
    await sources({
      databases:
        'compose://users-db/app,compose://orders-db/app?user=me&name=orders-db-app,compose://c/app?name=c&user=me,' +
        'postgres://me@h/app?name=h&sslmode=require,sqlite:///s1/app.db,sqlite:///s2/app.db?name=s2-app',
      directories: 'a/uploads,b/uploads?name=b-uploads,a&name=b',
      buckets: 'app,images?endpoint=http://a:9000,images?name=b-images&endpoint=http://b:9000',
    }),
    [
      ...[
        'postgres app',
        'postgres orders-db-app',
        'postgres c',
        'postgres h',
        'sqlite app',
        'sqlite s2-app',
      ],
      ...[
        'directory uploads',
        'directory b-uploads',
        'directory a-name-b',
        'bucket app',
        'bucket images',
        'bucket b-images',
      ],
    ],
  );
});

test('F1: a database whose name has a line break is refused before anything is stored, unless it is named', async () => {
  await assert.rejects(sources({ databases: 'compose://db/a%0Ab' }), /would have control characters/);
  assert.deepEqual(await sources({ databases: 'compose://db/a%0Ab?name=ab' }), ['postgres ab']);
});

test('F1: a name that is given has to be fit for keys and files', () => {
  for (const name of ['', '..', 'a/b', 'a b', '-x', '.x', 'a\n']) {
    assert.throws(() => parseDirectory(`uploads?name=${name}`), /has a wrong \?name=/, name);
    assert.throws(() => parseCompose(`compose://db/app?name=${name}`), /has a wrong \?name=/, name);
  }
});

test('A3: a part by the name of what objects inherit is none', () => {
  for (const name of ['constructor', '__proto__', 'toString'])
    assert.throws(() => select([{ kind: 'sqlite', name: 'app' }], [name], 'the settings'), /no such part/);
});
