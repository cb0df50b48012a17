import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  type DeploymentRecord,
  describeMigrations,
  migrationsSince,
  parseRecords,
  rollbackTarget,
} from '../../../lib/deploy/deployment.ts';

/** A deployment of a version whose one image has the version as its id. */
const record = (version: string, more: Partial<DeploymentRecord> = {}): DeploymentRecord => ({
  ...{ version, images: { web: { reference: `shop/web:${version}`, id: version } } },
  ...{
    at: '2026-11-21T07:00:00.000Z',
    did: 'update',
    who: 'ada@laptop',
    migrated: false,
    verified: true,
    ms: 1,
  },
  ...more,
});

test('✗ "revision - 1": a rollback passes over what failed, to what was verified', () => {
  const all = [
    record('1'),
    record('2'),
    record('3', { verified: false, failed: 'crashed', returnedTo: '2' }),
  ];
  assert.equal(rollbackTarget(all, record('2')).version, '1');
});

test('a rollback from something that nobody verified goes to the newest that was', () => {
  assert.equal(rollbackTarget([record('1'), record('2')], record('by hand')).version, '2');
});

test('a rollback from containers of two versions goes to the newest verified one', () => {
  assert.equal(rollbackTarget([record('1'), record('2')], undefined).version, '2');
});

test('the same images under another name are not another version', () => {
  const again = record('2', { did: 'rollback' });
  assert.equal(rollbackTarget([record('1'), record('2'), record('1'), again], again).version, '1');
});

test('--to takes the newest verified deployment of that version', () => {
  const rebuilt = record('1', { images: { web: { reference: 'shop/web:1', id: 'rebuilt' } } });
  assert.equal(rollbackTarget([record('1'), rebuilt, record('2')], record('2'), '1'), rebuilt);
});

test('with nothing verified it says so', () => {
  assert.throws(() => rollbackTarget([record('1', { verified: false })], undefined), /nothing to go back to/);
});

test('migrations after the target are told with their backups', () => {
  const all = [
    record('1', { migrated: true }),
    record('2', { migrated: true, backup: '20261121-070000' }),
    record('3'),
  ];
  const told = describeMigrations(migrationsSince(all, all[0] as DeploymentRecord));
  assert.equal(told.length, 1);
  assert.match(told[0] ?? '', /^2 migrated.*20261121-070000/);
});

test('a migration that failed is told too: it may have done a part', () => {
  const all = [record('1'), record('2', { migrated: true, verified: false })];
  assert.equal(migrationsSince(all, all[0] as DeploymentRecord).length, 1);
});

test('a line that a full disk cut off is no record', () => {
  const text = `${JSON.stringify(record('1'))}\n{"version":"2","ima`;
  assert.deepEqual(
    parseRecords(text).map(({ version }) => version),
    ['1'],
  );
});
