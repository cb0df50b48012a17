import assert from 'node:assert/strict';
import { test } from 'node:test';
import { splitShared } from '../../lib/host-opsbook.ts';

test('the backup is told of the same app as we are', () => {
  const argv = ['1.2.0', '--env-file', 'a.env', '--backup', '--env-file=b.env', '--target', 'local'];
  assert.deepEqual(splitShared(argv), {
    shared: ['--env-file', 'a.env', '--env-file=b.env', '--target', 'local'],
    own: ['1.2.0', '--backup'],
  });
});
