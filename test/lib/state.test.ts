import assert from 'node:assert/strict';
import { chownSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { stateDirectory, stateFile } from '../../lib/state.ts';
import { tempDir } from './kit.ts';

const modeOf = (path: string) => (statSync(path).mode & 0o777).toString(8);

test('the state folder is for its owner alone, and unseen by git', (t) => {
  const folder = stateDirectory(tempDir(t));
  assert.equal(modeOf(folder), '700');
  assert.equal(readFileSync(join(folder, '.gitignore'), 'utf8'), '*\n');
  const file = stateFile(folder, 'backup.lock');
  assert.deepEqual([modeOf(file), statSync(file).size], ['600', 0]);
});

test('what is there is left as it is', (t) => {
  const appDir = tempDir(t);
  const file = stateFile(stateDirectory(appDir), 'backup.lock');
  writeFileSync(file, 'owner');
  writeFileSync(join(appDir, '.opsbook', '.gitignore'), '!kept\n');
  assert.equal(stateFile(stateDirectory(appDir), 'backup.lock'), file);
  assert.equal(readFileSync(file, 'utf8'), 'owner');
  assert.equal(readFileSync(join(appDir, '.opsbook', '.gitignore'), 'utf8'), '!kept\n');
});

test('what root makes belongs to whom the app belongs', {
  skip: process.getuid?.() !== 0 && 'not root',
}, (t) => {
  const appDir = tempDir(t);
  chownSync(appDir, 12345, 23456);
  const folder = stateDirectory(appDir);
  for (const path of [folder, join(folder, '.gitignore'), stateFile(folder, 'x')]) {
    const { uid, gid } = statSync(path);
    assert.deepEqual([uid, gid], [12345, 23456], path);
  }
});

test('a folder that cannot be made is told with the reason and what to do', (t) => {
  const appDir = join(tempDir(t), 'absent');
  assert.throws(() => stateDirectory(appDir), {
    message: `${appDir}/.opsbook cannot be made (ENOENT)`,
    next: `run as the owner of ${appDir}, or correct APP_DIR`,
  });
  mkdirSync(appDir);
  writeFileSync(join(appDir, '.opsbook'), '');
  assert.throws(() => stateDirectory(appDir), { message: /cannot be made \(ENOTDIR\)/ });
});
