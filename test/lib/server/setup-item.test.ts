import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { wordsOf } from '../../../lib/command.ts';
import type { Act } from '../../../lib/server/converge.ts';
import { archive, type Pinned, program } from '../../../lib/server/setup-item.ts';
import { tempDir } from '../kit.ts';

const sha256 = (path: string) => createHash('sha256').update(readFileSync(path)).digest('hex');
const pinnedTo = (path: string, sum: string): Pinned => [`file://${path}`, sum, `file://${path}`, sum];
const run = (act: Act) => {
  const [file = '', ...rest] = wordsOf(act);
  return spawnSync(file, rest, { encoding: 'utf8' });
};

test('a program whose SHA-256 is the pinned one is installed, executable', (t) => {
  const dir = tempDir(t);
  const release = join(dir, 'release');
  writeFileSync(release, '#!/bin/sh\necho v2\n');
  const path = join(dir, 'plugins/docker-compose');
  assert.equal(run(program(pinnedTo(release, sha256(release)), path)).status, 0);
  assert.equal(readFileSync(path, 'utf8'), readFileSync(release, 'utf8'));
  assert.equal(statSync(path).mode & 0o777, 0o755);
});

test('one that was replaced or cut is refused by name, and the old one stays', (t) => {
  const dir = tempDir(t);
  const release = join(dir, 'release');
  writeFileSync(release, 'as it was pinned');
  const sum = sha256(release);
  writeFileSync(release, 'as it was pin');
  const path = join(dir, 'docker-compose');
  writeFileSync(path, 'the old one');
  const { status, stderr } = run(program(pinnedTo(release, sum), path));
  assert.equal(status, 1);
  assert.match(
    stderr,
    new RegExp(`^file://${release} is not what was pinned: its SHA-256 is [0-9a-f]{64}, not ${sum}$`, 'm'),
  );
  assert.equal(readFileSync(path, 'utf8'), 'the old one');
});

test('an archive is unpacked whole, without its top directory', (t) => {
  const dir = tempDir(t);
  mkdirSync(join(dir, 'node-v24/bin'), { recursive: true });
  writeFileSync(join(dir, 'node-v24/bin/npm'), 'npm');
  const tarball = join(dir, 'node.tar.xz');
  execFileSync('tar', ['-cJf', tarball, '-C', dir, 'node-v24']);
  const path = join(dir, 'nodejs');
  assert.equal(run(archive(pinnedTo(tarball, sha256(tarball)), path)).status, 0);
  assert.equal(readFileSync(join(path, 'bin/npm'), 'utf8'), 'npm');
});

test('a damaged archive leaves no directory that would pass for it', (t) => {
  const dir = tempDir(t);
  const tarball = join(dir, 'node.tar.xz');
  writeFileSync(tarball, 'no archive');
  const path = join(dir, 'nodejs');
  assert.notEqual(run(archive(pinnedTo(tarball, sha256(tarball)), path)).status, 0);
  assert.ok(!existsSync(path));
});
