/* F2: what the last complete backup had, and how a host that may read nothing knows it. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, utimesSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { catalog, writeLocalManifest } from '../../../lib/backup/catalog.ts';
import { dateOf } from '../../../lib/backup/id.ts';
import { type Manifest, type PartRecord, writeManifest } from '../../../lib/backup/manifest.ts';
import { type Store, Unreadable } from '../../../lib/backup/store.ts';
import { fileStore } from '../../../lib/backup/store-file.ts';
import { EXIT, sentence } from '../../../lib/failure.ts';
import { onlyDescribe } from '../../../lib/script.ts';

onlyDescribe(() => {});
const { lacking, lastComplete, nearNames } = await import('../../../scripts/backup/backup.ts');

const sha256 = 'a'.repeat(64);
const sqlite = (name: string, id: string): PartRecord => ({
  kind: 'sqlite',
  ...{ name, source: `sqlite:///${name}.db`, bytesIn: 1, bytesOut: 1, tables: [] },
  dump: { key: `backups/${id}/${name}.db.zst`, bytes: 1, sha256 },
});
const uploads: PartRecord = {
  kind: 'directory',
  ...{ name: 'uploads', source: '/srv/uploads', bytesIn: 1, bytesOut: 1 },
  ...{ files: 1, directories: 0, symlinks: 0, tree: { key: `content/aa/${sha256}`, bytes: 1, sha256 } },
};

function place() {
  const root = mkdtempSync(join(tmpdir(), 'opsbook-baseline-'));
  after(() => rmSync(root, { recursive: true, force: true }));
  const store = fileStore(join(root, 'store'), new AbortController().signal);
  return { store, stateDir: root };
}

async function complete(store: Store, id: string, parts: PartRecord[]): Promise<Manifest> {
  const started = dateOf(id) as Date;
  const finished = new Date(started.getTime() + 9_000);
  const text = writeManifest({
    app: 'shop',
    id,
    started: started.toISOString(),
    finished: finished.toISOString(),
    tool: 't',
    host: 'h',
    recipient: null,
    complete: true,
    parts,
  });
  for (const part of parts) {
    if ('dump' in part) await store.put(part.dump.key, Buffer.from('x'));
    if ('tree' in part) await store.put(part.tree.key, Buffer.from('x'));
  }
  await store.put(`backups/${id}/manifest.json`, Buffer.from(text));
  for await (const { key } of store.list(`backups/${id}/`))
    utimesSync(store.address(key).slice('file://'.length), finished, finished);
  return JSON.parse(text);
}

/** A store that may be written and listed only. */
const writeOnly = (store: Store): Store => ({
  ...store,
  get: () => Promise.reject(new Unreadable('GetObject: AccessDenied')),
});

async function problemsOf(store: Store, stateDir: string, names: string[], without: string[] = []) {
  const warnings: string[] = [];
  const parts = names.map((name) => ({
    kind: name === 'uploads' ? ('directory' as const) : ('sqlite' as const),
    name,
  }));
  const where = { app: 'shop', store, stateDir };
  const warn = (text: string) => void warnings.push(text);
  const found = lacking(await lastComplete(await catalog(store), where), parts, without, { warn });
  for (const problem of found) assert.equal(problem.exit, EXIT.usage);
  return { problems: found.map(({ message }) => message), warnings };
}

test('F2: each part of the last complete backup that is not named is refused, unless it is told', async () => {
  const { store, stateDir } = place();
  await complete(store, '20261120-030000', [sqlite('older', '20261120-030000')]);
  await complete(store, '20261121-030000', [sqlite('app', '20261121-030000'), uploads]);
  assert.deepEqual(await problemsOf(store, stateDir, ['new']), {
    problems: [
      'the last complete backup, 20261121-030000, has the sqlite app; these settings do not name it',
      'the last complete backup, 20261121-030000, has the directory uploads; these settings do not name it',
    ],
    warnings: [],
  });
  assert.deepEqual((await problemsOf(store, stateDir, ['uploads'], ['app'])).problems, []);
  assert.deepEqual((await problemsOf(store, stateDir, ['app', 'uploads', 'new'])).problems, []);
  // Said every night, it is no longer news.
  assert.deepEqual((await problemsOf(store, stateDir, ['app', 'uploads'], ['older'])).problems, []);
  assert.match(
    (await problemsOf(store, stateDir, ['app', 'uploads'], ['app'])).problems[0] ?? '',
    /^--without app: the settings name the sqlite app$/,
  );
});

test('F2: a host that may not read goes by its own copy of the manifest, else by the dumps that it sees, and says what is unknown', async () => {
  const { store, stateDir } = place();
  const manifest = await complete(store, '20261121-030000', [sqlite('app', '20261121-030000'), uploads]);
  const seen = await problemsOf(writeOnly(store), stateDir, ['new']);
  assert.deepEqual(seen.problems, [
    'the last complete backup, 20261121-030000, has the sqlite app; these settings do not name it',
  ]);
  assert.match(seen.warnings[0] ?? '', /directory or a bucket .* is unknown/);
  writeLocalManifest(stateDir, manifest);
  const known = await problemsOf(writeOnly(store), stateDir, ['new']);
  assert.equal(known.problems.length, 2);
  assert.deepEqual(known.warnings, []);
});

test('F2: a host is not held to its own old backup where another host took newer ones that it may not read', async () => {
  const { store, stateDir } = place();
  const ours = [sqlite('app', '20261101-030000'), sqlite('gone', '20261101-030000'), uploads];
  writeLocalManifest(stateDir, await complete(store, '20261101-030000', ours));
  const theirs = [sqlite('app', '20261121-030000'), sqlite('new', '20261121-030000')];
  await complete(store, '20261121-030000', theirs);
  const { problems, warnings } = await problemsOf(writeOnly(store), stateDir, ['app']);
  assert.deepEqual(problems, [
    'the last complete backup, 20261121-030000, has the sqlite new; these settings do not name it',
  ]);
  assert.equal(warnings.length, 2);
  assert.match(
    warnings[0] ?? '',
    /last complete backup, 20261121-030000, has a directory or a bucket .* unknown/,
  );
  assert.match(
    warnings[1] ?? '',
    /^20261101-030000, .* has the directory uploads; these settings do not name it/,
  );
  const told = await problemsOf(writeOnly(store), stateDir, ['app', 'new'], ['uploads']);
  assert.deepEqual([told.problems, told.warnings.length], [[], 1]);
  // One that was stored before its time was planted: this host's own is the last.
  await store.put('backups/20991121-030000/evil.db.zst', Buffer.from('x'));
  await store.put('backups/20991121-030000/manifest.json', Buffer.from('{}'));
  assert.deepEqual((await problemsOf(writeOnly(store), stateDir, ['app', 'new'], ['uploads'])).problems, []);
});

test('F2: the first backup, and partial ones before it, ask for nothing', async () => {
  const { store, stateDir } = place();
  assert.deepEqual(await problemsOf(store, stateDir, ['app']), { problems: [], warnings: [] });
  await store.put('backups/20261121-030000/manifest.partial.json', Buffer.from('{}'));
  assert.deepEqual(await problemsOf(store, stateDir, ['app']), { problems: [], warnings: [] });
});

test('F1: the dump of a database is known by its key, whatever the database is called', async () => {
  const { store, stateDir } = place();
  await store.put('backups/20261121-030000/a%2Fb.dump.dump.zst.age', Buffer.from('x'));
  // What no part of ours could be called, and would steer a terminal that lists it.
  await store.put('backups/20261121-030000/a\u001b[2Jb.dump', Buffer.from('x'));
  await store.put('backups/20261121-030000/a%2Fb.dump.globals.sql.age', Buffer.from('x'));
  await store.put('backups/20261121-030000/manifest.json', Buffer.from('{}'));
  assert.deepEqual((await problemsOf(writeOnly(store), stateDir, [])).problems, [
    'the last complete backup, 20261121-030000, has the postgres a/b.dump; these settings do not name it',
  ]);
});

test('F2: a variable that is nearly a setting is refused where that is not set, and named where it is', () => {
  const known = [
    'BACKUP_STORE',
    'BACKUP_DATABASES',
    'BACKUP_DIRECTORIES',
    'BACKUP_BUCKETS',
    'BACKUP_RECIPIENT',
  ];
  const near = (raw: Record<string, string>) => nearNames(known, raw, false);
  for (const [name, meant] of [
    ['BACKUP_DATABASE', 'BACKUP_DATABASES'],
    ['BACKUP_DIRECTORYS', 'BACKUP_DIRECTORIES'],
    ['BACKUP_DIRECTORY', 'BACKUP_DIRECTORIES'],
    ['BACKUP_BUCKET', 'BACKUP_BUCKETS'],
    ['BACKUP_RECEPIENT', 'BACKUP_RECIPIENT'],
    ['BACKUP_DATABSAES', 'BACKUP_DATABASES'],
    ['BACKUPS_DATABASES', 'BACKUP_DATABASES'],
    ['backup_databases', 'BACKUP_DATABASES'],
  ] as const) {
    const { refused, warnings } = near({ [name]: 'sqlite:///hidden.db' });
    assert.match(
      refused[0]?.message ?? '',
      new RegExp(`^${name} is not a setting of ours: ${meant} is`),
      name,
    );
    assert.doesNotMatch(sentence(refused[0]), /hidden/);
    assert.deepEqual(warnings, []);
    assert.deepEqual(near({ [name]: 'x', [meant]: 'y' }).refused, []);
    assert.equal(near({ [name]: 'x', [meant]: 'y' }).warnings.length, 1);
  }
  // The app's own, and those of our other scripts.
  for (const name of [
    'DATABASES',
    'DATABASE_URL',
    'BACKEND_DATABASES',
    'BACKUP_DIR',
    'BACKUP_TIME',
    'BACKUP_SCHEDULE',
  ])
    assert.deepEqual(
      near({ [name]: 'x', BACKUP_KEEP: 'x', BACKUP_MAX_AGE: 'x', BACKUP_IDENTITY_FILE: 'x' }),
      { refused: [], warnings: [] },
      name,
    );
});

test('F2: a variable that is nearly a setting of parts is only named where the parts of the last backup are known', () => {
  const settings = ['BACKUP_DATABASES', 'BACKUP_DIRECTORIES', 'BACKUP_BUCKETS', 'BACKUP_RECIPIENT'];
  const raw = { BACKUP_BUCKET: 'hidden', BACKUP_DIRECTORY: 'hidden', BACKUP_DATABASE: 'hidden' };
  const { refused, warnings } = nearNames(settings, raw, true);
  assert.deepEqual(refused, []);
  assert.deepEqual(warnings, [
    'BACKUP_BUCKET is not a setting, and not read; BACKUP_BUCKETS is, and is not set',
    'BACKUP_DIRECTORY is not a setting, and not read; BACKUP_DIRECTORIES is, and is not set',
    'BACKUP_DATABASE is not a setting, and not read; BACKUP_DATABASES is, and is not set',
  ]);
  // No backup before this one says that it was to be encrypted.
  const recipient = nearNames(settings, { BACKUP_RECEPIENT: 'age1' }, true);
  assert.match(recipient.refused[0]?.message ?? '', /^BACKUP_RECEPIENT is not a setting of ours/);
});
