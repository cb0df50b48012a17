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
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { measureOf } from '../../../lib/backup/blobs.ts';
import { opener, sealer } from '../../../lib/backup/encryption.ts';
import type { DirectoryPart } from '../../../lib/backup/manifest.ts';
import { directoryCopier } from '../../../lib/backup/restore-directory.ts';
import { contentOf, forgetTrees, readTree } from '../../../lib/backup/tree.ts';
import { checkContent, checkPresence } from '../../../lib/backup/verify.ts';
import { Secret } from '../../../lib/secret.ts';
import { backUp, nextId, recoveryIn, restoreBeside, type World, world, write } from './kit.ts';

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
  const part = await backUp(w, { sealer: await sealer(await identityToRecipient(identity)) });
  const readable = spawnSync('grep', ['-rl', 'secret text', w.stored], { encoding: 'utf8' });
  assert.equal(readable.stdout, '');
  const opened = await opener(new Secret(identity));
  const restored = await restoreBeside(w, part, { opener: opened });
  assert.deepEqual(await restored.compare(), []);
  assert.deepEqual(await checkContent(part, await recoveryIn(w, { opener: opened }), w.step), []);
  await assert.rejects(restoreBeside(w, part), /is encrypted/);
  const another = await opener(new Secret(await generateIdentity()));
  await assert.rejects(restoreBeside(w, part, { opener: another }), /encrypted to another key/);
});

test('a corrupted encrypted content is told as damage, not as a bug', async () => {
  const { generateIdentity, identityToRecipient } = await import('age-encryption');
  const identity = await generateIdentity();
  const w = world();
  write(w.uploads, { a: 'secret text' });
  const part = await backUp(w, { sealer: await sealer(await identityToRecipient(identity)) });
  const suffix = part.tree.key.slice(part.tree.key.indexOf('.'));
  const path = storedAt(w, 'secret text') + suffix;
  const bytes = readFileSync(path);
  bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1;
  writeFileSync(path, bytes);
  const opened = await opener(new Secret(identity));
  await assert.rejects(restoreBeside(w, part, { opener: opened }), /uploads: a: its content .* is damaged/);
});

test('what a backup references is known without reading the store, and forgotten with it', async () => {
  const { w, part } = await backedUp();
  const refusing = { ...w.store, get: () => Promise.reject(new Error('refused')) };
  const reader = { store: refusing, opener: await opener(undefined), stateDir: w.state };
  const keys = await contentOf(part, reader);
  assert.equal(keys.size, 3);
  for (const key of keys) assert.ok(existsSync(join(w.stored, key)), key);
  forgetTrees(w.state, new Set([part.tree.sha256]));
  assert.equal((await contentOf(part, reader)).size, 3);
  forgetTrees(w.state, new Set());
  await assert.rejects(contentOf(part, reader), /refused/);
  assert.deepEqual(await contentOf(part, { ...reader, store: w.store }), keys);
});

const escapes: Array<[string, Array<Record<string, unknown>>]> = [
  ['..', [{ path: '../evil', type: 'file' }]],
  [
    '.. inside',
    [
      { path: 'a', type: 'directory' },
      { path: 'a/../../evil', type: 'file' },
    ],
  ],
  [
    '.. as a directory',
    [
      { path: 'a', type: 'directory' },
      { path: 'a/..', type: 'directory' },
    ],
  ],
  ['a path that begins with a slash', [{ path: '/evil', type: 'file' }]],
  ['an absolute path', [{ path: '/etc/evil', type: 'file' }]],
  [
    'a symlink as a parent',
    [
      { path: 'a', type: 'symlink', target: '/etc' },
      { path: 'a/evil', type: 'file' },
    ],
  ],
  ['encoded ..', [{ path_base64: Buffer.from('../evil').toString('base64'), type: 'file' }]],
];
for (const [kind, entries] of escapes) {
  test(`a list of files that leads out of the directory is refused: ${kind}`, async () => {
    const { w, part } = await backedUp();
    const all = [{ path: '.', type: 'directory' }, ...entries];
    const common = {
      mode: '0755',
      uid: 0,
      gid: 0,
      mtime: 0,
      size: 0,
      sha256: measureOf(Buffer.from('another')).sha256,
    };
    const tree = Buffer.from(all.map((entry) => `${JSON.stringify({ ...common, ...entry })}\n`).join(''));
    const { sha256, bytes } = measureOf(tree);
    const key = `content/${sha256.slice(0, 2)}/${sha256}`;
    await w.store.put(key, tree);
    await assert.rejects(restoreBeside(w, { ...part, tree: { key, bytes, sha256 } }), /leads out of it/);
  });
}

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
    import { opener } from ${JSON.stringify(join(process.cwd(), 'lib/backup/encryption.ts'))};
    const signal = new AbortController().signal;
    const store = fileStore(${JSON.stringify(w.stored)}, signal);
    let n = 0;
    const slow = { ...store, get: async (key) => { if (++n > 20) await new Promise((r) => setTimeout(r, 60_000)); return store.get(key); } };
    const recovery = { id: '${id}', store: slow, opener: await opener(undefined), signal, stateDir: ${JSON.stringify(w.state)} };
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

test('a tree can be read from the copy here or from the store', async () => {
  const { w, part } = await backedUp();
  const reader = { store: w.store, opener: await opener(undefined) };
  const fromStore = await readTree(part, reader);
  const fromCopy = await readTree(part, { ...reader, stateDir: w.state });
  assert.ok(fromStore.equals(fromCopy));
});
