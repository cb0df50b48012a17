import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isVersion, versionsIn } from '../../lib/web.ts';

test('a version is told in several ways', () => {
  assert.deepEqual(versionsIn('{"version":"1.2.0","commit":"abc"}'), ['1.2.0', 'abc']);
  assert.deepEqual(versionsIn('1.2.0'), ['1.2.0']);
  assert.deepEqual(versionsIn('<html>'), []);
  assert.ok(isVersion('1.2.0', { version: 'v1.2.0' }));
  assert.ok(isVersion('0123456', { version: 'x', commit: '0123456789abcdef' }));
  assert.ok(!isVersion('1.2.0', { version: '1.2.1' }));
});
