import assert from 'node:assert/strict';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { Failure } from '../../lib/failure.ts';
import { editHostFile, rewriteHostFile } from '../../lib/host-files.ts';
import { localHost } from '../../lib/hosts.ts';
import { tempDir } from './kit.ts';

const lines = (file: string) => readFileSync(file, 'utf8').split('\n').filter(Boolean).sort();

test('A15: of edits of a file at once none is lost, whether it is there yet or not', async (t) => {
  const file = join(tempDir(t), '.env');
  const names = ['A', 'B', 'C', 'D'];
  await Promise.all(
    names.map((name) => editHostFile(localHost(), file, (text) => `${text ?? ''}${name}=1\n`)),
  );
  assert.deepEqual(
    lines(file),
    names.map((name) => `${name}=1`),
  );
  assert.equal(statSync(file).mode & 0o777, 0o600);
});

test('A15: what was written since it was read is not written over', async (t) => {
  const file = join(tempDir(t), '.env');
  writeFileSync(file, 'A=1\n');
  const read = 'A=1\n';
  await rewriteHostFile(localHost(), file, read, 'A=2\n');
  for (const old of [read, undefined])
    await assert.rejects(rewriteHostFile(localHost(), file, old, 'A=3\n'), (error: Failure) => {
      assert.equal(error.message, `${file} was changed by another run meanwhile: not written`);
      return error instanceof Failure;
    });
  assert.deepEqual(lines(file), ['A=2']);
});

test('A15: a file with bytes that are no UTF-8 is left as it is, and says why', async (t) => {
  const file = join(tempDir(t), '.env');
  const bytes = Buffer.from([0x41, 0x3d, 0xe9, 0x0a]);
  writeFileSync(file, bytes);
  await assert.rejects(
    editHostFile(localHost(), file, (text) => `${text}B=1\n`),
    /has bytes that are no UTF-8/,
  );
  assert.deepEqual(readFileSync(file), bytes);
});
