import assert from 'node:assert/strict';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { parseDirectory } from '../../../lib/backup/addresses.ts';
import { swapPaths, undoDirectory } from '../../../lib/backup/swap.ts';
import { backUp, mount, restoreBeside, world, write } from './kit.ts';

const ID = '20260101-000000';

const names: Array<[string, string]> = [
  ['uploads', 'uploads'],
  ['data/uploads/', 'uploads'],
  ['/srv/My Files', 'My-Files'],
  ['/srv/.hidden', 'hidden'],
  ['/srv/bücher', 'b-cher'],
];
for (const [raw, name] of names) {
  test(`BACKUP_DIRECTORIES=${raw} names the part ${name}`, () => {
    assert.deepEqual(parseDirectory(raw), { name, path: raw });
  });
}

test('a directory without a name of its own is refused', () => {
  for (const raw of ['/', '.', '..']) assert.throws(() => parseDirectory(raw), /gives no name for the part/);
});

test('a directory that is a disk of its own is restored within it, and undone', async (t) => {
  const w = world();
  if (!mount(w.uploads, 200)) return t.skip('may not mount');
  write(w.uploads, { 'sub/photo': 'old', 'lost+found/x': 'mkfs' });
  const part = await backUp(w);
  assert.equal(part.files, 1);
  write(w.uploads, { 'sub/photo': 'new' });
  const restored = await restoreBeside(w, part, { id: ID });
  assert.equal(restored.place, join(w.uploads, `.opsbook-restoring-${ID}`));
  assert.deepEqual(await restored.compare(), []);
  const kept = await restored.swapIn();
  assert.equal(kept, join(w.uploads, `.opsbook-before-${ID}`));
  assert.equal(readFileSync(join(w.uploads, 'sub/photo'), 'utf8'), 'old');
  assert.equal((await backUp(w)).files, 1, 'what is kept in it is no data');
  assert.equal(undoDirectory('uploads', w.state, w.uploads).kept, join(w.uploads, `.opsbook-undone-${ID}`));
  assert.equal(readFileSync(join(w.uploads, 'sub/photo'), 'utf8'), 'new');
  assert.ok(existsSync(join(w.uploads, 'lost+found/x')));
});

test('a directory with a disk mounted in it cannot be swapped, and says so before anything is restored', async (t) => {
  const w = world();
  write(w.uploads, { a: '1' });
  mkdirSync(join(w.uploads, 'disk'));
  if (!mount(join(w.uploads, 'disk'), 200)) return t.skip('may not mount');
  write(w.uploads, { 'disk/b': '2' });
  const part = await backUp(w);
  assert.equal(part.files, 2, 'a backup enters it');
  await assert.rejects(restoreBeside(w, part), /uploads: .*\/disk is mounted in .*uploads/);
});

test('a full disk fails the restore and leaves nothing of it behind', async (t) => {
  const w = world();
  write(w.uploads, { a: '1', big: Buffer.alloc(75e6, 'x') });
  const part = await backUp(w);
  rmSync(w.uploads, { recursive: true });
  mkdirSync(w.uploads);
  if (!mount(w.uploads, 70)) return t.skip('may not mount');
  write(w.uploads, { live: 'data' });
  await assert.rejects(restoreBeside(w, part), /needs 75\.0 MB, .* has 73\.4 MB free/);
  // Whoever fills the disk after it was looked at.
  await assert.rejects(
    restoreBeside(w, { ...part, bytesIn: 0 }),
    /uploads: big cannot be written: .*no space/i,
  );
  assert.deepEqual(readdirSync(w.uploads), ['live']);
});

test('a directory behind a symlink is restored where it really is', async () => {
  const w = world();
  write(w.app, { 'disk/uploads/a': 'old' });
  rmSync(w.uploads, { recursive: true });
  symlinkSync('disk/uploads', w.uploads);
  const part = await backUp(w);
  assert.equal(part.files, 1);
  writeFileSync(join(w.uploads, 'a'), 'new');
  await (await restoreBeside(w, part, { id: ID })).swapIn();
  assert.equal(readFileSync(join(w.app, 'disk/uploads/a'), 'utf8'), 'old');
  assert.deepEqual(readdirSync(join(w.app, 'disk')).sort(), ['uploads', `uploads_before_${ID}`]);
  assert.equal(swapPaths(w.uploads).live, join(w.app, 'disk/uploads'));
});
