import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import {
  chownSync,
  existsSync,
  lchownSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { writeHostFile } from '../../lib/host-files.ts';
import { localHost } from '../../lib/hosts.ts';
import { acquire } from '../../lib/lock.ts';
import { onlyDescribe } from '../../lib/script.ts';
import type { Host } from '../../lib/shell.ts';
import { folderIn, stateDirectory, stateFile, stateFileOn, writeWhole } from '../../lib/state.ts';
import { backUp, restoreBeside, world, write } from './backup/kit.ts';
import { APP_USER, asRoot, assertUntouched, ID, planted } from './planting.ts';

onlyDescribe(() => {});
const { forget } = await import('../../scripts/backup/prune.ts');
const { lastRestoration, recordRestoration, undo } = await import('../../scripts/backup/restore.ts');

/** A shell of APP_USER that goes on until the test ends. */
function race(t: TestContext, cwd: string, script: string): Promise<unknown> {
  const argv = ['--reuid', String(APP_USER), '--regid', String(APP_USER), '--clear-groups', 'sh', '-c'];
  const child = spawn('/usr/bin/setpriv', [...argv, `echo; while :; do ${script}; done 2>/dev/null`], {
    ...{ cwd, stdio: ['ignore', 'pipe', 'ignore'] },
  });
  t.after(() => child.kill('SIGKILL'));
  return new Promise((resolve) => child.stdout?.once('data', resolve));
}

/** This machine, as a host that is reached by a shell. */
const byShell: Host = { ...localHost(), target: 'ssh://deploy@host' };

test('A5: a state folder that is a link is refused, here and on a host', asRoot, async (t) => {
  const w = planted(t);
  symlinkSync(w.victim, join(w.app, '.opsbook'));
  const message = new RegExp(`${w.app}/.opsbook is a symbolic link: not followed`);
  assert.throws(() => stateDirectory(w.app), { message });
  await assert.rejects(stateFileOn(byShell, w.app, 'backup.lock'), message);
  await assert.rejects(writeHostFile(byShell, join(w.app, '.opsbook/rotation.json'), 'x'), message);
  assertUntouched(w);
});

test('A5: files of the state folder that are links are not written through', asRoot, async (t) => {
  for (const target of ['file', 'absent']) {
    const w = planted(t);
    const folder = stateDirectory(w.app);
    const names = ['backup.lock', 'restores.jsonl', 'swapped-x.json', 'swapped-x.json.new', 'manifests'];
    for (const name of names) symlinkSync(join(w.victim, target), join(folder, name));
    const refused = /is a symbolic link: not followed/;
    assert.throws(() => stateFile(folder, 'backup.lock'), refused);
    await assert.rejects(
      recordRestoration(folder, { id: ID, at: new Date().toISOString(), parts: [] }),
      refused,
    );
    writeWhole(join(folder, 'swapped-x.json'), ['{}']);
    folderIn(folder, 'manifests');
    assert.throws(() => writeWhole(join(folder, 'manifests', 'x.json'), ['{}']), refused);
    await assert.rejects(acquire(localHost(), join(folder, 'backup.lock'), 'backup'), /Permission denied/);
    await assert.rejects(stateFileOn(byShell, w.app, 'backup.lock'), /Permission denied/);
    assertUntouched(w);
  }
});

test('A5: a second name of a file of root, and a folder of a third, are refused', asRoot, async (t) => {
  const w = planted(t);
  const folder = stateDirectory(w.app);
  linkSync(w.file, join(folder, 'restores.jsonl'));
  await assert.rejects(
    recordRestoration(folder, { id: ID, at: new Date().toISOString(), parts: [] }),
    /restores.jsonl is no regular file of one name/,
  );
  assertUntouched(w);
  chownSync(folder, 777, 777);
  assert.throws(() => stateDirectory(w.app), /\.opsbook belongs to user 777, not to user 12345 or root/);
});

test('A5: what is forgotten is not removed where a link leads', asRoot, async (t) => {
  const w = planted(t);
  const folder = stateDirectory(w.app);
  for (const name of ['manifests', 'trees']) symlinkSync(w.victim, join(folder, name));
  const forgetAll = () => forget([], { app: 'app', stateDir: folder });
  await assert.rejects(forgetAll, /manifests is a symbolic link: not followed/);
  rmSync(join(folder, 'manifests'));
  await assert.rejects(forgetAll, /trees is a symbolic link: not followed/);
  assertUntouched(w);
});

test(
  'A5: an env file is written where it was meant to be, whatever its folder becomes meanwhile',
  asRoot,
  async (t) => {
    const w = planted(t);
    const [bin, path] = [join(w.app, '..', 'bin'), process.env['PATH']];
    mkdirSync(bin);
    // At the worst moment: what was written is there, and is about to be given to its owner.
    const swap = `mv .env.opsbook-new aside; ln -s ${w.file} .env.opsbook-new`;
    writeFileSync(
      join(bin, 'chown'),
      `#!/bin/sh\n(cd ${w.app} && setpriv --reuid ${APP_USER} --clear-groups sh -c '${swap}')\nexec /usr/bin/chown "$@"\n`,
      { mode: 0o755 },
    );
    process.env['PATH'] = `${bin}:${path}`;
    t.after(() => {
      process.env['PATH'] = path;
    });
    await writeHostFile(byShell, join(w.app, '.env'), 'PASSWORD=hush\n').catch(() => {});
    assertUntouched(w);
    assert.equal(readFileSync(join(w.app, '.env'), 'utf8'), 'PASSWORD=hush\n');
    const { uid, mode } = statSync(join(w.app, '.env'));
    assert.deepEqual([uid, mode & 0o777], [APP_USER, 0o600]);
  },
);

test('A5: files are restored into our own directory, whatever takes its place', asRoot, async (t) => {
  const w = world();
  const other = planted(t);
  chownSync(w.app, APP_USER, APP_USER);
  write(w.uploads, Object.fromEntries(Array.from({ length: 300 }, (_, i) => [`sub${i % 9}/${i}`, `${i}`])));
  const part = await backUp(w);
  const beside = `uploads.restoring-${ID}`;
  await race(
    t,
    w.app,
    `mv ${beside} aside; ln -s ${other.victim} ${beside}; rm -f ${beside}; mv aside ${beside}`,
  );
  for (let i = 0; i < 5; i += 1) {
    // It may fail: what it must not is write elsewhere.
    const restored = await restoreBeside(w, part, { id: ID }).catch(() => undefined);
    assertUntouched(other);
    if (restored) assert.equal(statSync(w.uploads).uid, 0);
    await restored?.discard().catch(() => {});
  }
});

test('A5: until the swap nobody else may write where files are restored', asRoot, async () => {
  const w = world();
  write(w.uploads, { a: '1' });
  chownSync(w.uploads, APP_USER, APP_USER);
  const part = await backUp(w);
  const restored = await restoreBeside(w, part, { id: ID });
  const { uid, mode } = statSync(restored.place);
  assert.deepEqual([uid, mode & 0o777], [0, 0o700]);
  assert.deepEqual(await restored.compare(), []);
  await restored.swapIn();
  assert.equal(statSync(w.uploads).uid, APP_USER);
});

test('A5: what has taken the place of the live directory is not emptied', asRoot, async (t) => {
  const w = world();
  const other = planted(t);
  write(w.uploads, { a: '1' });
  const part = await backUp(w);
  const restored = await restoreBeside(w, part, { id: ID });
  rmSync(w.uploads, { recursive: true });
  symlinkSync(other.victim, w.uploads);
  await assert.rejects(async () => restored.swapIn(), /leads elsewhere through a symbolic link/);
  assertUntouched(other);
  lchownSync(w.uploads, APP_USER, APP_USER);
  await assert.rejects(restoreBeside(w, part), /is a symbolic link of user 12345 to .*victim: not followed/);
  assertUntouched(other);
});

/** What somebody may write into a journal, of a swap that was cut off. */
const FORGED: Array<[string, (journal: Record<string, unknown>, victim: string) => void]> = [
  ['live', (journal, victim) => (journal['live'] = victim)],
  ['beside', (journal, victim) => (journal['beside'] = victim)],
  ['before', (journal, victim) => (journal['before'] = victim)],
  ['undone', (journal, victim) => (journal['undone'] = victim)],
  ['incoming/0', (journal) => (journal['incoming'] = ['../../victim/file'])],
  ['part', (journal) => (journal['part'] = 'other')],
  ['id', (journal) => (journal['id'] = '../x')],
  ['phase', (journal) => (journal['phase'] = 'anything')],
];

test('A5: a journal of a swap that names other places moves nothing', async (t) => {
  for (const [field, forge] of FORGED) {
    const w = world();
    const other = planted(t);
    write(w.uploads, { a: '1' });
    const part = await backUp(w);
    const attributes = { mode: 0o755, uid: 0, gid: 0, mtime: 0 };
    const { uploads: live } = w;
    const journal: Record<string, unknown> = {
      ...{ part: 'uploads', id: ID, live, created: false, phase: 'undo-out', incoming: ['file'] },
      ...{
        beside: `${live}.restoring-${ID}`,
        before: `${live}_before_${ID}`,
        undone: `${live}_undone_${ID}`,
      },
      ...{ was: attributes, becomes: attributes },
    };
    forge(journal, other.victim);
    writeFileSync(join(w.state, 'swapped-uploads.json'), JSON.stringify(journal));
    await assert.rejects(
      restoreBeside(w, part),
      new RegExp(`swapped-uploads.json is not a journal of this part \\(${field}: `),
      field,
    );
    assertUntouched(other);
    assert.deepEqual(readdirSync(live), ['a'], field);
  }
});

test('A5: files of a directory that was copied by hard links are used', asRoot, (t) => {
  const w = planted(t);
  const folder = stateDirectory(w.app);
  stateFile(folder, 'backup.lock');
  linkSync(join(folder, 'backup.lock'), join(w.app, 'copy'));
  stateFile(folder, 'backup.lock');
});

test('A5: what an undo puts back is what a restore kept', async (t) => {
  const w = planted(t);
  const state = stateDirectory(w.app);
  const live = join(w.app, 'shop.db');
  writeFileSync(live, 'live');
  const parts = [{ kind: 'sqlite' as const, name: 'shop', kept: w.file }];
  await recordRestoration(state, { id: ID, at: new Date().toISOString(), parts });
  const context = {
    settings: { APP: 'a', APP_DIR: w.app, BACKUP_DATABASES: [{ via: 'sqlite', name: 'shop', file: live }] },
    ...{
      confirm: async () => {},
      change: async (_: string, __: unknown, act: (s: object) => unknown) => act({ note() {} }),
    },
  };
  await assert.rejects(undo(context as never), /victim\/file is not what a restore would have kept/);
  assertUntouched(w);
});

test('A12: a line that was cut off does not swallow the next; a last one that cannot be read is not passed over', async (t) => {
  const w = planted(t);
  const state = stateDirectory(w.app);
  const at = new Date().toISOString();
  await recordRestoration(state, { id: ID, at, parts: [] });
  writeFileSync(join(state, 'restores.jsonl'), `{"id":"${ID}","at":"2026-`, { flag: 'a' });
  await assert.rejects(lastRestoration(state), /restores.jsonl: its last line cannot be read/);
  await recordRestoration(state, { id: '20260102-000000', at, parts: [] });
  assert.equal((await lastRestoration(state)).id, '20260102-000000');
  assert.ok(existsSync(state));
});
