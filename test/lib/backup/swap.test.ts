import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { attributesOf } from '../../../lib/backup/file-system.ts';
import {
  namesOf,
  putBack,
  type Swapped,
  settleSwap,
  swapIn,
  undoDirectory,
} from '../../../lib/backup/swap.ts';
import { backUp, restoreBeside, type World, world, write } from './kit.ts';

/** Every file below a directory with its content. */
function filesIn(directory: string): Record<string, string> {
  const names = readdirSync(directory, { recursive: true, withFileTypes: true });
  return Object.fromEntries(
    names
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name))
      .map((path) => [path.slice(directory.length + 1), readFileSync(path, 'utf8')]),
  );
}

const BACKED_UP = { 'sub/photo': 'a photo', other: 'another', third: '3' };
const LIVE = { 'sub/photo': 'newer', other: 'changed', 'added/since': 'yes' };

/** An app that was backed up and has changed since, with the backup restored beside it. */
async function changedApp() {
  const w = world();
  write(w.uploads, BACKED_UP);
  const part = await backUp(w);
  rmSync(w.uploads, { recursive: true });
  write(w.uploads, LIVE);
  return { w, part };
}

test('a swap keeps the inode of the directory, which containers have mounted, and what was in it', async () => {
  const { w, part } = await changedApp();
  const { ino } = statSync(w.uploads);
  const restored = await restoreBeside(w, part);
  const kept = await restored.swapIn();
  assert.equal(statSync(w.uploads).ino, ino);
  assert.deepEqual(filesIn(w.uploads), BACKED_UP);
  assert.match(kept, /uploads_before_\d{8}-\d{6}$/);
  assert.deepEqual(filesIn(kept), LIVE);
  assert.deepEqual(readdirSync(w.app).length, 3, 'nothing else is left beside it');
});

test('an undo puts back what was there, keeps what was restored, and can be done once', async () => {
  const { w, part } = await changedApp();
  const restored = await restoreBeside(w, part, { id: '20260101-000000' });
  const kept = await restored.swapIn();
  write(w.uploads, { 'written/later': 'by the app' });
  const undone = undoDirectory('uploads', w.state, w.uploads);
  assert.deepEqual(filesIn(w.uploads), LIVE);
  assert.deepEqual(undone, { id: '20260101-000000', kept: `${w.uploads}_undone_20260101-000000` });
  assert.deepEqual(filesIn(undone.kept), { ...BACKED_UP, 'written/later': 'by the app' });
  assert.equal(existsSync(kept), false);
  assert.throws(() => undoDirectory('uploads', w.state, w.uploads), /no restore to undo/);
});

test('a swap is taken back when another part fails', async () => {
  const { w, part } = await changedApp();
  const restored = await restoreBeside(w, part);
  const kept = await restored.swapIn();
  await restored.swapBack();
  assert.deepEqual(filesIn(w.uploads), LIVE);
  assert.equal(existsSync(kept), false);
  assert.deepEqual(filesIn(restored.place), BACKED_UP);
  await restored.discard();
  assert.deepEqual(readdirSync(w.app).sort(), ['.opsbook', 'uploads']);
});

test('a directory that is not there is made, with its mode, and nothing is kept', async () => {
  const { w, part } = await changedApp();
  rmSync(w.uploads, { recursive: true });
  const restored = await restoreBeside(w, part);
  assert.equal(await restored.swapIn(), '');
  assert.deepEqual(filesIn(w.uploads), BACKED_UP);
  assert.deepEqual(readdirSync(w.app).sort(), ['.opsbook', 'uploads']);
  assert.equal(statSync(w.uploads).mode & 0o777, 0o755);
});

test('a second restore of one backup keeps both earlier states', async () => {
  const { w, part } = await changedApp();
  const id = '20260101-000000';
  const first = await (await restoreBeside(w, part, { id })).swapIn();
  write(w.uploads, { between: '1' });
  const second = await (await restoreBeside(w, part, { id })).swapIn();
  assert.equal(second, `${first}_2`);
  assert.deepEqual(filesIn(first), LIVE);
  assert.deepEqual(filesIn(second), { ...BACKED_UP, between: '1' });
});

test('a file that the app writes during the swap is kept under another name', async () => {
  const { w, part } = await changedApp();
  const restored = await restoreBeside(w, part);
  const swap = swapOf(w, restored.place);
  let written = false;
  swapIn(w.state, swap, (from, to) => {
    renameSync(from, to);
    if (!written) writeFileSync(join(w.uploads, 'third'), 'by the app');
    written = true;
  });
  assert.deepEqual(filesIn(w.uploads), { ...BACKED_UP, 'third.written-during-restore': 'by the app' });
});

const swapOf = (w: World, beside: string): Swapped => ({
  part: 'uploads',
  id: '20260101-000000',
  live: w.uploads,
  created: false,
  beside,
  before: `${w.uploads}_before_20260101-000000`,
  incoming: namesOf(beside),
  was: attributesOf(statSync(w.uploads)),
  becomes: attributesOf(statSync(beside)),
});

/** A process that swaps, and kills itself before the `n`th rename. */
async function killedSwap(w: World, swap: Swapped, n: number): Promise<void> {
  const script = `
    import { renameSync } from 'node:fs';
    import { swapIn } from ${JSON.stringify(join(process.cwd(), 'lib/backup/swap.ts'))};
    let count = 0;
    swapIn(${JSON.stringify(w.state)}, ${JSON.stringify(swap)}, (from, to) => {
      count += 1;
      if (count === ${n}) process.kill(process.pid, 'SIGKILL');
      renameSync(from, to);
    });
  `;
  const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', script], {
    stdio: 'inherit',
  });
  const [, signal] = await once(child, 'close');
  assert.equal(signal, 'SIGKILL');
}

/** Renames until the `n`th; that one and all later ones fail, as if the process had been killed there. */
function killedAt(n: number) {
  let count = 0;
  return (from: Buffer, to: Buffer): void => {
    count += 1;
    if (count >= n) throw new Error('killed');
    renameSync(from, to);
  };
}

/** 3 names move out and 3 in. */
const RENAMES = 6;

for (let n = 1; n <= RENAMES; n += 1) {
  test(`a swap that is killed at rename ${n} is refused by a backup, and put back by the next restore or by undo`, async () => {
    const { w, part } = await changedApp();
    const { place } = await restoreBeside(w, part, { id: '20260101-000000' });
    await killedSwap(w, swapOf(w, place), n);
    assert.equal(
      Object.keys(filesIn(w.app)).filter((name) => /photo|other|added|third/.test(name)).length,
      6,
    );
    await assert.rejects(backUp(w), /the restore of 20260101-000000 was cut off while it moved files/);
    if (n % 2 === 0) {
      const { kept } = undoDirectory('uploads', w.state, w.uploads);
      assert.deepEqual(filesIn(kept), BACKED_UP);
    } else {
      settleSwap(w.state, 'uploads', w.uploads);
      assert.deepEqual(filesIn(place), BACKED_UP);
    }
    assert.deepEqual(filesIn(w.uploads), LIVE);
    const again = await restoreBeside(w, part);
    await again.swapIn();
    assert.deepEqual(filesIn(w.uploads), BACKED_UP);
  });

  test(`a rename that is refused, the ${n}th, leaves everything as it was`, async () => {
    const { w, part } = await changedApp();
    const { place } = await restoreBeside(w, part, { id: '20260101-000000' });
    let count = 0;
    const refuse = (from: Buffer, to: Buffer) => {
      count += 1;
      if (count === n)
        throw Object.assign(new Error('EACCES: permission denied, rename'), { code: 'EACCES' });
      renameSync(from, to);
    };
    assert.throws(
      () => swapIn(w.state, swapOf(w, place), refuse),
      /could not be swapped .*; it is as it was/,
    );
    assert.deepEqual(filesIn(w.uploads), LIVE);
    assert.deepEqual(filesIn(place), BACKED_UP);
  });

  test(`an undo that is killed at rename ${n} is finished by the next`, async () => {
    const { w, part } = await changedApp();
    const id = '20260101-000000';
    const restored = await restoreBeside(w, part, { id });
    await restored.swapIn();
    const place = `${w.uploads}_undone_${id}`;
    assert.throws(() => undoDirectory('uploads', w.state, w.uploads, killedAt(n)), /killed/);
    assert.deepEqual(undoDirectory('uploads', w.state, w.uploads), { id, kept: place });
    assert.deepEqual(filesIn(w.uploads), LIVE);
    assert.deepEqual(filesIn(place), BACKED_UP);
  });

  test(`a swap back that is killed at rename ${n} is finished by the next`, async () => {
    const { w, part } = await changedApp();
    const { place } = await restoreBeside(w, part, { id: '20260101-000000' });
    const swap = swapOf(w, place);
    swapIn(w.state, swap);
    assert.throws(() => putBack(w.state, swap, killedAt(n)), /killed/);
    putBack(w.state, swap);
    assert.deepEqual(filesIn(w.uploads), LIVE);
    assert.deepEqual(filesIn(place), BACKED_UP);
  });
}

test('what mkfs and a restore keep at the top of a mount stays where it is', async () => {
  const { w, part } = await changedApp();
  mkdirSync(join(w.uploads, 'lost+found'));
  const kept = await (await restoreBeside(w, part)).swapIn();
  assert.ok(existsSync(join(w.uploads, 'lost+found')));
  assert.equal(existsSync(join(kept, 'lost+found')), false);
});
