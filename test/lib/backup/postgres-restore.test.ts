import assert from 'node:assert/strict';
import { test } from 'node:test';
import { besideName, shortEnough } from '../../../lib/backup/postgres-restore.ts';

test('the name beside a database is free and no longer than PostgreSQL takes, in bytes', () => {
  const id = '20261121-030000';
  assert.equal(besideName('app', 'before', id, []), `app_before_${id}`);
  const taken = [`app_before_${id}`, `app_before_${id}_2`];
  assert.equal(besideName('app', 'before', id, taken), `app_before_${id}_3`);
  assert.equal(besideName('x'.repeat(40), 'before', id, []).length, 63);
  assert.throws(() => besideName('x'.repeat(41), 'before', id, []), /longer than the 63 bytes/);
  assert.throws(() => besideName('ö'.repeat(21), 'before', id, []), /longer than the 63 bytes/);
  assert.throws(() => besideName('x'.repeat(40), 'before', id, [`${'x'.repeat(40)}_before_${id}`]), /longer/);
  assert.throws(() => shortEnough('x'.repeat(64)), /longer than the 63 bytes/);
});
