import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { measureOf } from '../../../lib/backup/blobs.ts';
import { decrypter, encrypter } from '../../../lib/backup/encryption.ts';
import type { DirectoryPart } from '../../../lib/backup/manifest.ts';
import { checkContent, checkPresence } from '../../../lib/backup/references.ts';
import { directoryCopier } from '../../../lib/backup/restore-directory.ts';
import { swapPaths, undoDirectory } from '../../../lib/backup/swap.ts';
import { Secret } from '../../../lib/secret.ts';
import { backUp, mount, nextId, recoveryIn, restoreBeside, type World, world, write } from './kit.ts';

const ID = '20260101-000000';

/** Where the content of `text` is stored. */
const storedAt = ({ stored }: World, text: string): string => {
  const { sha256 } = measureOf(Buffer.from(text));
  return join(stored, 'content', sha256.slice(0, 2), sha256);
};

async function backedUp(): Promise<{ w: World; part: DirectoryPart }> {
  const w = world();
  write(w.uploads, { 'sub/photo': 'a photo', other: 'another' });
  return { w, part: await backUp(w) };
}

const damage: Array<[string, (path: string) => void, RegExp]> = [
  ['corrupted', (path) => writeFileSync(path, 'A photo'), /is damaged: its SHA-256 is/],
  ['truncated', (path) => truncateSync(path, 3), /has 3 of 7 bytes/],
  ['missing', (path) => rmSync(path), /is missing/],
];
for (const [kind, act, message] of damage) {
  test(`a ${kind} content fails the restore with part, file and key, and touches nothing live`, async () => {
    const { w, part } = await backedUp();
    act(storedAt(w, 'a photo'));
    await assert.rejects(restoreBeside(w, part), (error: Error) => {
      assert.match(error.message, /^uploads: sub\/photo: its content file:.*\/content\/..\/[0-9a-f]{64} /);
      assert.match(error.message, message);
      return true;
    });
    assert.deepEqual(readdirSync(w.app).sort(), ['.opsbook', 'uploads']);
    assert.equal(readFileSync(join(w.uploads, 'sub/photo'), 'utf8'), 'a photo');
  });

  test(`a ${kind} content is found by a check, with a file that it belongs to`, async () => {
    const { w, part } = await backedUp();
    const reading = await recoveryIn(w);
    assert.deepEqual(await checkContent(part, reading, w.step), []);
    act(storedAt(w, 'a photo'));
    const problems = await checkContent(part, reading, w.step);
    assert.equal(problems.length, 1);
    assert.match(problems[0] ?? '', /^uploads: sub\/photo: its content/);
    assert.match(problems[0] ?? '', message);
  });
}

test('a damaged list of files fails restore and check', async () => {
  const { w, part } = await backedUp();
  writeFileSync(join(w.stored, part.tree.key), 'x'.repeat(part.tree.bytes));
  await assert.rejects(
    restoreBeside(w, part),
    /^Damaged|uploads: its list of files: its content .* is damaged/,
  );
  assert.match(
    String(await checkContent(part, await recoveryIn(w), w.step)),
    /its list of files.* is damaged/,
  );
});

test('those who may not read still see from outside what is missing or too short', async () => {
  const { w, part } = await backedUp();
  const where = { store: w.store, stateDir: w.state };
  assert.deepEqual(await checkPresence(part, where), []);
  truncateSync(storedAt(w, 'a photo'), 2);
  rmSync(storedAt(w, 'another'));
  const problems = (await checkPresence(part, where)).map((line) => line.replace(/its content \S+/, '…'));
  assert.deepEqual(problems.sort(), [
    'uploads: other: … is missing',
    'uploads: sub/photo: … has 2 of 7 bytes',
  ]);
  assert.ok(!w.asked.some((line) => line.startsWith('get ')));
});

test('an encrypted backup comes back by its identity alone', async () => {
  const { generateIdentity, identityToRecipient } = await import('age-encryption');
  const identity = await generateIdentity();
  const w = world();
  write(w.uploads, { a: 'secret text', big: Buffer.alloc(9e6, 'secret text') });
  const part = await backUp(w, { encrypter: await encrypter(await identityToRecipient(identity)) });
  const readable = spawnSync('grep', ['-rl', 'secret text', w.stored], { encoding: 'utf8' });
  assert.equal(readable.stdout, '');
  const opened = await decrypter(new Secret(identity));
  const restored = await restoreBeside(w, part, { decrypter: opened });
  assert.deepEqual(await restored.compare(), []);
  assert.deepEqual(await checkContent(part, await recoveryIn(w, { decrypter: opened }), w.step), []);
  await assert.rejects(restoreBeside(w, part), /is encrypted/);
  const another = await decrypter(new Secret(await generateIdentity()));
  await assert.rejects(restoreBeside(w, part, { decrypter: another }), /encrypted to another key/);
});

test('a corrupted encrypted content is told as damage, not as a bug', async () => {
  const { generateIdentity, identityToRecipient } = await import('age-encryption');
  const identity = await generateIdentity();
  const w = world();
  write(w.uploads, { a: 'secret text' });
  const part = await backUp(w, { encrypter: await encrypter(await identityToRecipient(identity)) });
  const suffix = part.tree.key.slice(part.tree.key.indexOf('.'));
  const path = storedAt(w, 'secret text') + suffix;
  const bytes = readFileSync(path);
  bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1;
  writeFileSync(path, bytes);
  const opened = await decrypter(new Secret(identity));
  await assert.rejects(
    restoreBeside(w, part, { decrypter: opened }),
    /uploads: a: its content .* is damaged/,
  );
});

test('holes of a sparse file cost neither disk nor are they lost', async () => {
  const w = world();
  const size = 60e6;
  write(w.uploads, { sparse: 'start' });
  truncateSync(join(w.uploads, 'sparse'), size);
  const restored = await restoreBeside(w, await backUp(w));
  const { size: found, blocks } = statSync(join(restored.place, 'sparse'));
  assert.equal(found, size);
  assert.ok(blocks * 512 < 200_000, `${blocks * 512} bytes on disk`);
  assert.equal(readFileSync(join(restored.place, 'sparse')).subarray(0, 5).toString(), 'start');
});

test('a directory without write permission comes back, and can be discarded', async () => {
  const w = world();
  write(w.uploads, { 'closed/in': 'x' });
  chmodSync(join(w.uploads, 'closed'), 0o555);
  const restored = await restoreBeside(w, await backUp(w));
  assert.equal(statSync(join(restored.place, 'closed')).mode & 0o777, 0o555);
  await restored.discard();
  assert.equal(existsSync(restored.place), false);
});

test('a restore to another directory needs an empty or absent one', async () => {
  const { w, part } = await backedUp();
  const target = join(w.app, 'elsewhere/deep');
  const copier = directoryCopier(part, target, await recoveryIn(w));
  await copier.prepare();
  const copy = await copier.restoreBeside(w.step);
  assert.deepEqual(await copy.compare(), []);
  await assert.rejects(copier.prepare(), /elsewhere\/deep is not empty/);
  await copy.discard();
  assert.equal(existsSync(target), false);
  mkdirSync(target);
  await copier.prepare();
});

test('a comparison tells what is missing, other and additional', async () => {
  const { w, part } = await backedUp();
  const restored = await restoreBeside(w, part);
  rmSync(join(restored.place, 'other'));
  writeFileSync(join(restored.place, 'sub/photo'), 'longer than it was');
  writeFileSync(join(restored.place, 'new'), '');
  const text = (await restored.compare()).join('\n');
  assert.match(text, /^other: is missing$/m);
  assert.match(text, /^sub\/photo: .*size is 18, was 7$/m);
  assert.match(text, /^new: is not in the backup$/m);
});

test('a full disk is found before anything is restored', async () => {
  const { w, part } = await backedUp();
  await assert.rejects(restoreBeside(w, { ...part, bytesIn: 1e18 }), /needs 1000\.0 PB, .* free/);
});

test('what a restore left that was killed is cleared by the next, and the live files are untouched', async () => {
  const w = world();
  for (let i = 0; i < 40; i += 1) write(w.uploads, { [`f${i}`]: `content ${i}` });
  const part = await backUp(w);
  const id = nextId();
  const script = `
    import { directoryRestorer } from ${JSON.stringify(join(process.cwd(), 'lib/backup/restore-directory.ts'))};
    import { fileStore } from ${JSON.stringify(join(process.cwd(), 'lib/backup/store-file.ts'))};
    import { decrypter } from ${JSON.stringify(join(process.cwd(), 'lib/backup/encryption.ts'))};
    const signal = new AbortController().signal;
    const store = fileStore(${JSON.stringify(w.stored)}, signal);
    let n = 0;
    const slow = { ...store, get: async (key) => { if (++n > 20) await new Promise((r) => setTimeout(r, 60_000)); return store.get(key); } };
    const recovery = { id: '${id}', store: slow, decrypter: await decrypter(undefined), signal, stateDir: ${JSON.stringify(w.state)} };
    await directoryRestorer(${JSON.stringify(part)}, ${JSON.stringify(w.uploads)}, recovery).restoreBeside({ progress({ done }) { if (done >= 10) console.log(done); } });
  `;
  const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await Promise.race([once(child.stdout, 'data'), setTimeout(20_000, undefined, { ref: false })]);
  child.kill('SIGKILL');
  await once(child, 'close');
  const leftover = `${w.uploads}.restoring-${id}`;
  assert.ok(readdirSync(leftover).length > 0);
  writeFileSync(join(leftover, 'f0'), 'half');
  assert.equal(readdirSync(w.uploads).length, 40);
  const restored = await restoreBeside(w, part);
  assert.equal(existsSync(leftover), false);
  assert.deepEqual(await restored.compare(), []);
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
