/* A5: what root backs up, restores and stores in directories of another, who planted something there. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  lchownSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { parseSqlite } from '../../../lib/backup/addresses.ts';
import { measureOf } from '../../../lib/backup/blobs.ts';
import type { SqlitePart } from '../../../lib/backup/manifest.ts';
import { stageCommand } from '../../../lib/backup/postgres-restore.ts';
import { checkContent } from '../../../lib/backup/references.ts';
import { directoryCopier } from '../../../lib/backup/restore-directory.ts';
import { sqliteRestorer, sqliteSource, undoSqlite } from '../../../lib/backup/sqlite.ts';
import { fileStore } from '../../../lib/backup/store-file.ts';
import { undoDirectory } from '../../../lib/backup/swap.ts';
import { cmd, wordsOf } from '../../../lib/command.ts';
import { APP_USER, asRoot, assertUntouched, ID, planted } from '../planting.ts';
import { backUp, recoveryIn, restoreBeside, uploadsOf, type World, workIn, world, write } from './kit.ts';

const said = (file: string): unknown => {
  const database = new DatabaseSync(file, { readOnly: true });
  const { text } = database.prepare('SELECT text FROM t').get() as { text: string };
  database.close();
  return text;
};

/** A database that says something. */
function databaseIn(directory: string, name: string, text: string): string {
  const database = new DatabaseSync(join(directory, name));
  database.exec('CREATE TABLE IF NOT EXISTS t (text TEXT); DELETE FROM t');
  database.prepare('INSERT INTO t VALUES (?)').run(text);
  database.close();
  return join(directory, name);
}

const shopOf = (w: World) => sqliteSource(parseSqlite(`sqlite://${join(w.app, 'shop.db')}`));

test('A5: parts are backed up and restored only where no link of another leads', asRoot, async (t) => {
  const w = world();
  const other = planted(t);
  const database = databaseIn(other.victim, 'secret.db', "root's");
  symlinkSync(database, join(w.app, 'shop.db'));
  rmSync(w.uploads, { recursive: true });
  symlinkSync(other.victim, w.uploads);
  for (const link of ['shop.db', 'uploads']) lchownSync(join(w.app, link), APP_USER, APP_USER);
  const message = /is a symbolic link of user 12345 to .*victim.*: not followed/;
  await assert.rejects(backUp(w), message);
  await assert.rejects(backUp(w, {}, shopOf(w)), message);
  // What lies at its end changed since it was looked at.
  rmSync(w.uploads);
  write(w.uploads, { a: '1' });
  const work = await workIn(w);
  const prepared = await uploadsOf(w).prepare(work);
  rmSync(w.uploads, { recursive: true });
  symlinkSync(other.victim, w.uploads);
  lchownSync(w.uploads, APP_USER, APP_USER);
  await assert.rejects(prepared.save(w.step), message);
});

test('A5: a database is kept and restored where no link leads', asRoot, async (t) => {
  const w = world();
  const other = planted(t);
  chownSync(w.app, APP_USER, APP_USER);
  const live = databaseIn(w.app, 'shop.db', 'old');
  chownSync(live, APP_USER, APP_USER);
  chmodSync(live, 0o666);
  const part = (await backUp(w, {}, shopOf(w))) as unknown as SqlitePart;
  const restorer = async () => {
    const target = { live, beside: `${live}.restore-${ID}`, for: 'live' as const };
    return sqliteRestorer(part, target, await recoveryIn(w, { id: ID }));
  };
  const before = `${live}_before_${ID}`;
  for (const end of ['', '_2']) symlinkSync(join(other.victim, 'absent'), before + end);
  const restored = await (await restorer()).restoreBeside(w.step);
  databaseIn(w.app, 'shop.db', 'new');
  assert.equal(await restored.swapIn(), `${before}_3`);
  assertUntouched(other);
  const { uid, mode } = statSync(`${before}_3`);
  assert.deepEqual([uid, mode & 0o777, said(live), said(`${before}_3`)], [APP_USER, 0o666, 'old', 'new']);

  // A live one that became a link, and a kept one.
  const secret = databaseIn(other.victim, 'secret.db', "root's");
  const again = await (await restorer()).restoreBeside(w.step);
  rmSync(live);
  symlinkSync(secret, live);
  lchownSync(live, APP_USER, APP_USER);
  const refused = /shop.db is a symbolic link of user 12345 to .*: not followed/;
  await assert.rejects(again.swapIn(), refused);
  await assert.rejects((await restorer()).prepare(), refused);
  await assert.rejects(undoSqlite(live, `${before}_3`, ID), refused);
  assert.equal(said(secret), "root's");
  rmSync(live);
  symlinkSync(secret, `${before}_4`);
  await assert.rejects(undoSqlite(live, `${before}_4`, ID), /_4 is not a regular file: not used/);
  assert.ok(!existsSync(live));
});

test('A5: a journal that names where a link of the owner leads is not believed', asRoot, async (t) => {
  const w = world();
  const other = planted(t);
  write(w.uploads, { a: '1' });
  const part = await backUp(w);
  const restored = await restoreBeside(w, part, { id: ID });
  await restored.swapIn();
  const file = join(w.state, 'swapped-uploads.json');
  const { victim } = other;
  const forged = readFileSync(file, 'utf8')
    .replaceAll(w.uploads, victim)
    .replaceAll('"uid":0', `"uid":${APP_USER}`);
  writeFileSync(file, forged);
  // Of a restore that still runs nothing is read from disk.
  await restored.swapBack();
  assertUntouched(other);
  writeFileSync(file, forged);
  rmSync(w.uploads, { recursive: true });
  symlinkSync(victim, w.uploads);
  lchownSync(w.uploads, APP_USER, APP_USER);
  const message = /uploads is a symbolic link of user 12345/;
  assert.throws(() => undoDirectory('uploads', w.state, w.uploads), message);
  assertUntouched(other);
});

test('A5: a store in which folders are links leads nowhere else', asRoot, async (t) => {
  const { victim, ...w } = planted(t);
  const store = fileStore(join(w.app, 'store'), new AbortController().signal);
  await store.put('content/cd/kept', Buffer.from('1'));
  for (const folder of ['content/ab', 'backups']) {
    symlinkSync(victim, join(w.app, 'store', folder));
    lchownSync(join(w.app, 'store', folder), APP_USER, APP_USER);
  }
  mkdirSync(join(victim, 'empty'));
  const acts = [
    () => store.put('content/ab/file', Buffer.from('x')),
    () => store.put('backups/new/manifest.json', Buffer.from('x')),
    () => store.claim('backups/claimed/lock', Buffer.from('x')),
    () => store.get('content/ab/file'),
    () => store.remove(['content/ab/file']),
    () => store.remove(['backups/empty/absent']),
    () => Array.fromAsync(store.list('content/ab/')),
  ];
  for (const act of acts) await assert.rejects(act, /is a symbolic link of user 12345 to .*: not followed/);
  rmdirSync(join(victim, 'empty'));
  assertUntouched({ victim, ...w });
  const listed = (await Array.fromAsync(store.list(''))).map(({ key }) => key);
  assert.deepEqual(listed, ['content/cd/kept']);
  for (const made of ['store', 'store/content/cd'])
    assert.deepEqual(
      [statSync(join(w.app, made)).uid, statSync(join(w.app, made)).mode & 0o777],
      [APP_USER, 0o700],
    );
});

test('A5: a link of whom it leads to is followed in a store', asRoot, async (t) => {
  const w = planted(t);
  mkdirSync(join(w.app, 'disk'));
  mkdirSync(join(w.app, 'store'));
  symlinkSync('../disk', join(w.app, 'store', 'content'));
  const store = fileStore(join(w.app, 'store'), new AbortController().signal);
  await store.put('content/ab/x', Buffer.from('1'));
  assert.equal(readFileSync(join(w.app, 'disk/ab/x'), 'utf8'), '1');
});

test('A5: a dump is staged in a new file', asRoot, (t) => {
  const w = planted(t);
  const staged = join(w.app, 'opsbook-x.dump');
  const stage = (text: string) => {
    const [program = '', ...args] = wordsOf(stageCommand({ cmd }, staged));
    assert.equal(spawnSync(program, args, { input: text }).status, 0);
    assert.equal(readFileSync(staged, 'utf8'), text);
    assert.equal(statSync(staged).mode & 0o777, 0o600);
  };
  for (const target of ['file', 'absent']) {
    rmSync(staged, { force: true });
    symlinkSync(join(w.victim, target), staged);
    stage('a dump');
    assertUntouched(w);
  }
  stage('what a killed run left is replaced');
});

test('A13: the app gets to a directory that root restored below missing ones', asRoot, async (t) => {
  const w = world();
  const { app } = planted(t);
  write(w.uploads, { a: '1' });
  const part = await backUp(w);
  chmodSync(app, 0o775);
  const copier = directoryCopier(part, join(app, 'new/er/uploads'), await recoveryIn(w));
  await copier.restoreBeside(w.step);
  for (const made of ['new', 'new/er']) {
    const { uid, gid, mode } = statSync(join(app, made));
    assert.deepEqual([uid, gid, mode & 0o7777], [APP_USER, APP_USER, 0o755], made);
  }
});

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
    await assert.rejects(
      restoreBeside(w, part),
      /is not a file, and so not an object|is a link, and so not an object/,
    );
    const listed: string[] = [];
    for await (const { key } of w.store.list('content/')) listed.push(key);
    assert.ok(!listed.some((key) => key.endsWith(name)), 'and it is no object for those who list');
    const [problem] = await checkContent(part, await recoveryIn(w), w.step);
    assert.match(problem ?? '', /^uploads: a: .*is (not a file|a link), and so not an object/);
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
