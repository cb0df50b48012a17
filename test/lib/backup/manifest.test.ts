import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  describeRows,
  differences,
  readManifest,
  type TableRows,
  writeManifest,
} from '../../../lib/backup/manifest.ts';

const sha256 = 'a'.repeat(64);
const values = {
  app: 'bloaty',
  id: '20261121-030000',
  started: '2026-11-21T03:00:00.000Z',
  finished: '2026-11-21T03:00:09.000Z',
  tool: 'opsbook 1.0.0',
  host: 'ip-10-0-0-1',
  recipient: null,
  complete: true,
  parts: [
    {
      kind: 'sqlite' as const,
      ...{ name: 'app', source: 'sqlite:///app.db', bytesIn: 4096, bytesOut: 99 },
      dump: { key: 'backups/20261121-030000/app.db.zst', bytes: 99, sha256 },
      tables: [{ table: 'users', rows: 3 }],
    },
  ],
};
const text = writeManifest(values);
const [part] = values.parts;
const ESTIMATE = { table: 'big', rows: 4_000_000, exact: false };
const COUNT = { table: 'users', rows: 3, exact: true };
const POSTGRES = {
  ...{
    kind: 'postgres',
    globals: values.parts[0]?.dump,
    database: 'd',
    owner: 'o',
    encoding: 'UTF8',
    collate: 'C',
  },
  ...{ ctype: 'C', icuLocale: null, serverVersion: '17', clientVersion: '17', compression: 'none' },
};
const read = (changed: string) => readManifest(changed, 'bloaty', '20261121-030000');
const edit = (change: (json: Record<string, unknown>) => void) => {
  const json = JSON.parse(text);
  change(json);
  return JSON.stringify(json);
};

test('what was written is read', () => {
  assert.deepEqual(read(text), { version: 1, ...values });
});

test('fields that a later opsbook adds do not hinder this one', () => {
  assert.equal(read(edit((json) => Object.assign(json, { weather: 'fine' }))).app, 'bloaty');
});

test('what is no manifest of this backup is refused by what is wrong with it', () => {
  const table: Array<[string, RegExp]> = [
    ['', /its manifest is not JSON \(0 characters\)/],
    [text.slice(0, 200), /its manifest is not JSON \(200 characters\)/],
    ['null', /manifest : /],
    ['[]', /manifest/],
    ['"manifest"', /manifest/],
    [
      edit((json) => Object.assign(json, { version: 2, parts: 'of another kind' })),
      /manifest version 2, this opsbook reads 1/,
    ],
    [edit((json) => Object.assign(json, { version: 0 })), /manifest version: /],
    [edit((json) => Object.assign(json, { app: 'chitram' })), /is of the app chitram, not of bloaty/],
    [edit((json) => Object.assign(json, { id: '20261120-030000' })), /its manifest is of 20261120-030000/],
    [text.replace('"bytes": 99', '"bytes": -1'), /manifest parts\/0\/dump\/bytes/],
    [text.replace('"sqlite"', '"oracle"'), /manifest parts\/0\/kind/],
    [text.replace(sha256, 'b'), /manifest parts\/0\/dump\/sha256/],
  ];
  for (const [changed, problem] of table) assert.throws(() => read(changed), problem, changed.slice(0, 80));
});

test('rows differ by number, by a table that is missing and by one that is new; estimates only by being there', () => {
  const rows = (table: string, rows: number, exact = true) => ({ table, rows, exact });
  assert.deepEqual(differences([rows('a', 1), rows('b', 9, false)], [rows('b', 0, false), rows('a', 1)]), []);
  assert.deepEqual(differences([rows('a', 1), rows('b', 9, false)], [rows('a', 2), rows('c', 0)]), [
    'table a has 2 rows, was backed up with 1',
    'table b is missing',
    "table c is not in the backup's manifest",
  ]);
});

test('F30: an estimate of an older backup is read, told as not compared, and added to no count', () => {
  const older = read(
    edit((json) => Object.assign(json, { parts: [{ ...part, tables: [ESTIMATE, COUNT] }] })),
  );
  const [{ tables = [] } = {}] = older.parts as Array<{ tables?: TableRows[] }>;
  assert.equal(describeRows(tables), '1 table, 3 rows; rows not compared: big');
  assert.equal(describeRows([{ table: 'a', rows: 1 }, COUNT]), '2 tables, 4 rows');
  assert.deepEqual(
    differences(tables, [
      { table: 'big', rows: 1 },
      { table: 'users', rows: 3 },
    ]),
    [],
  );
});

test('A2: a privilege that is none, and what it is, are told', () => {
  const access = [{ to: null, privilege: 'ALL ON DATABASE x TO PUBLIC;\n\\! id', grantable: false }];
  const forged = { ...part, ...POSTGRES, access };
  assert.throws(
    () => read(edit((json) => Object.assign(json, { parts: [forged] }))),
    /manifest parts\/0\/access\/0\/privilege: "ALL ON DATABASE x TO PUBLIC;\\n\\\\! id" is not a privilege on a database/,
  );
});

const uploads = {
  kind: 'directory',
  ...{ name: 'uploads', source: '/srv/uploads', bytesIn: 1, bytesOut: 1 },
  tree: { key: `content/aa/${sha256}`, bytes: 9, sha256 },
  ...{ files: 1, directories: 0, symlinks: 0 },
};
const dumpOf = (key: string) => ({ ...values.parts[0], dump: { key, bytes: 99, sha256 } });
const withPart = (part: unknown) => edit((json) => Object.assign(json, { parts: [part] }));
const recipient = `age1${'q'.repeat(58)}`;
const encrypted = (part: unknown) => edit((json) => Object.assign(json, { recipient, parts: [part] }));
const folder = 'backups/20261121-030000/';

test('A3: a manifest names only what is its own, and says which part and which value is not', () => {
  const table: Array<[string, RegExp]> = [
    [
      withPart(dumpOf('backups/20261120-030000/app.db.zst')),
      /parts\/0\/dump\/key: is not below backups\/20261121-030000\//,
    ],
    [withPart(dumpOf('../chitram/backups/20261121-030000/x')), /is not below .*in the part "app"$/],
    [withPart(dumpOf(`${folder}../20261120-030000/x`)), /is not below/],
    [withPart(dumpOf(`${folder}/etc/passwd`)), /is not below/],
    [withPart(dumpOf(folder)), /is not below/],
    [withPart(dumpOf(`${folder}other.db.zst`)), /dump\/key: is not of app /],
    [withPart(dumpOf(`${folder}app.\u001b[2Jb`)), /has control characters \(it says ".*\\u001b\[2Jb"\)/],
    [withPart(dumpOf(`${folder}app.db.zst.age`)), /is encrypted, and the backup has no recipient/],
    [encrypted(dumpOf(`${folder}app.db.zst`)), /dump\/key: is not encrypted/],
    [encrypted(uploads), /parts\/0\/tree\/key: is not content\/aa\/a{64}\.q{8}\.age/],
    [
      withPart({ ...uploads, tree: { ...uploads.tree, key: `content/bb/${sha256}` } }),
      /tree\/key: is not content\/aa/,
    ],
    [
      withPart({ ...uploads, tree: { ...uploads.tree, key: `${folder}tree` } }),
      /tree\/key: is not content\/aa/,
    ],
    [
      withPart({ ...uploads, tree: { ...uploads.tree, key: `content/aa/${sha256}/../x` } }),
      /tree\/key: is not/,
    ],
    [
      withPart({ ...uploads, name: '../../etc' }),
      /name: is not the name of a part \(it says "..\/..\/etc"\)/,
    ],
    [withPart({ ...uploads, name: '..' }), /name: is not the name of a part/],
    [withPart({ ...values.parts[0], name: 'a\nb' }), /name: is not the name of a part \(it says "a\\nb"\)/],
    [withPart({ ...values.parts[0], kind: 'constructor' }), /parts\/0\/kind/],
    [withPart({ ...values.parts[0], owner: { uid: -1, gid: 0, mode: 0 } }), /owner\/uid/],
    [withPart({ ...values.parts[0], owner: { uid: 0, gid: 0, mode: 0o4755 } }), /owner\/mode/],
    [
      edit((json) => Object.assign(json, { recipient: 'me' })),
      /recipient: is not an age recipient \(it says "me"\)/,
    ],
    [
      edit((json) => Object.assign(json, { host: 'a\u009b2Jb' })),
      /host: has control characters \(it says "a\\u009b2Jb"\)/,
    ],
    [
      edit((json) => Object.assign(json, { app: 'a\nb' })),
      /app: is not the name of an app \(it says "a\\nb"\)/,
    ],
    [edit((json) => Object.assign(json, { id: 'a\nb' })), /its manifest is of "a\\nb"$/],
  ];
  for (const [changed, problem] of table) {
    assert.throws(
      () => read(changed),
      (error: Error) => {
        assert.match(error.message, /^backup 20261121-030000: /);
        assert.match(error.message, problem);
        assert.doesNotMatch(error.message, /[\0-\x1f\x80-\x9f]/);
        return true;
      },
      changed.slice(-300),
    );
  }
});

test('A3: what we write is read: encrypted parts, and a database whose name has a slash', () => {
  const dump = { key: `${folder}a/b.db.zst`, bytes: 1, sha256 };
  const age = `.${recipient.slice(-8)}.age`;
  const tree = { ...uploads.tree, key: uploads.tree.key + age };
  const database = {
    ...{ kind: 'postgres', name: 'a/b', dump, globals: dump, owner: 'o', encoding: 'UTF8' },
  };
  const facts = {
    collate: 'C',
    ctype: 'C',
    icuLocale: null,
    settings: [],
    serverVersion: '17',
    clientVersion: '17',
  };
  for (const key of [`${folder}a/b.dump`, `${folder}a%2Fb.dump`]) {
    const of = { ...dump, key };
    const part = {
      ...uploads,
      ...database,
      ...facts,
      database: 'a/b',
      compression: 'none',
      tables: [],
      dump: of,
      globals: of,
    };
    assert.equal(read(withPart({ ...part, tree: undefined })).parts.length, 1);
  }
  assert.equal(read(encrypted(dumpOf(`${folder}app.db.zst.age`))).recipient, recipient);
  assert.equal(read(encrypted({ ...uploads, tree })).parts[0]?.name, 'uploads');
});
